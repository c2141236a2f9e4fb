-- Keeps the table small: a user's changes older than a retry may be.
-- $1 user_id
delete from credential_changes where user_id = $1 and changed <= clock_timestamp() - interval '24 hours'
