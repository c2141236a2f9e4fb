-- Ends the live keys that a new one takes the place of. Runs under the lock of the user's row.
-- $1 user_id, $2 of 40 digits (then the name doesn't matter), $3 name, $4 whether to replace at all
update auth_tokens t set revoked_at = clock_timestamp()
where t.user_id = $1 and $4 and t.is_drf = $2 and ($2 or t.name = $3) and {valid}
