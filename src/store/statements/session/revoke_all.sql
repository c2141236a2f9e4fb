-- Ends a user's live sessions, but one. Second statement of a transaction that holds the user's row.
-- $1 user_id, $2 session to spare (null: none), $3 reason
update sessions s set revoked_at = clock_timestamp(), revocation_reason = $3
where s.user_id = $1 and s.session is distinct from $2::text and {live}
