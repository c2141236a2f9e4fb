-- Ends a user's live keys. Second statement of a transaction that holds the user's row.
-- $1 user_id, $2 keep them all the same
update auth_tokens t set revoked_at = clock_timestamp() where t.user_id = $1 and not $2 and {valid}
