-- Writes the window of guesses, under its lock.
-- $1 user_id, $2 purpose, $3 attempts, $4 when the window began
update generic_state set attempts = $3, window_started = $4 where user_id = $1 and purpose = $2
