-- A user's one-time tokens, newest first.
-- $1 user_id, $2 purpose (null: all), $3 id of the last one seen (null: from the start), $4 limit
select {generic} from generic_tokens t
where t.user_id = $1 and ($2::text is null or t.purpose = $2) and ($3::bigint is null or t.id < $3)
order by t.id desc limit $4
