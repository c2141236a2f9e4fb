-- The answer that an earlier copy of this request got. Runs under the user's lock.
-- $1 user_id, $2 request id
select credential_version, sessions, generic_tokens, auth_tokens from credential_changes
where user_id = $1 and request_id = $2::text and changed > clock_timestamp() - interval '24 hours'
