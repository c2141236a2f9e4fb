-- Ends all live one-time tokens of some users, whose rows the transaction has written.
-- $1 user_ids
update generic_tokens t set revoked_at = clock_timestamp() where t.user_id = any ($1) and {unspent}
