-- Ends a user's live one-time tokens. Second statement of a transaction that holds the user's row.
-- $1 user_id, $2 only these purposes (null: all), $3 but not these (null: none)
update generic_tokens t set revoked_at = clock_timestamp()
where t.user_id = $1 and {unspent}
  and ($2::text[] is null or t.purpose = any ($2)) and ($3::text[] is null or t.purpose <> all ($3))
