-- Ends one live session.
-- $1 user_id, $2 session, $3 reason
update sessions s set revoked_at = clock_timestamp(), revocation_reason = $3
where s.user_id = $1 and s.session = $2 and {live}
