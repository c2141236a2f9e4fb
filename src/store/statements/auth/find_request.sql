-- The key that an earlier copy of this request got. Runs under the lock of the user's row.
-- $1 user_id, $2 request id
select {auth}, t.digest from auth_tokens t join users u on u.user_id = t.user_id
where t.user_id = $1 and t.request_id = $2::text order by t.id desc limit 1
