-- Ends all live sessions of some users, whose rows the transaction has written.
-- $1 user_ids, $2 reason
update sessions s set revoked_at = clock_timestamp(), revocation_reason = $2
where s.user_id = any ($1) and {live}
