-- Removes a user's keys, counted, before the user's row goes.
-- $1 user_id
delete from auth_tokens where user_id = $1
