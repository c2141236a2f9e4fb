-- Removes a user's one-time tokens, counted, before the user's row goes.
-- $1 user_id
delete from generic_tokens where user_id = $1
