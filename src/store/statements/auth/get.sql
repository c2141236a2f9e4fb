-- One key of a user; without a prefix the newest of 40 digits.
-- $1 user_id, $2 prefix (null: not said)
select {auth} from auth_tokens t join users u on u.user_id = t.user_id
where t.user_id = $1 and (t.prefix = $2::text or ($2 is null and t.is_drf)) order by t.id desc limit 1
