-- The token that an earlier copy of this request got. Runs under the lock of generic_state.
-- $1 user_id, $2 purpose, $3 request id
select {generic} from generic_tokens t
where t.user_id = $1 and t.purpose = $2 and t.request_id = $3::text order by t.id desc limit 1
