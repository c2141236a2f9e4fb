-- First of a deletion after the user's row: the lock order is users, generic_state, tokens.
-- $1 user_id
delete from generic_state where user_id = $1
