-- Ends the earlier tokens of a user and purpose; with $3, only those of the very same value.
-- $1 user_id, $2 purpose, $3 keep the others, $4 digest
update generic_tokens t set revoked_at = clock_timestamp()
where t.user_id = $1 and t.purpose = $2 and {unspent} and (not $3 or t.digest = $4)
