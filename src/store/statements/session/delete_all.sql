-- Removes a user's sessions, counted, before the user's row goes.
-- $1 user_id
delete from sessions where user_id = $1
