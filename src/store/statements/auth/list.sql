-- A user's keys, newest first.
-- $1 user_id, $2 id of the last one seen (null: from the start), $3 limit
select {auth} from auth_tokens t join users u on u.user_id = t.user_id
where t.user_id = $1 and ($2::bigint is null or t.id < $2) order by t.id desc limit $3
