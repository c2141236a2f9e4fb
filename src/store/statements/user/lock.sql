-- Held by whoever ends a user's things; waits for everyone who is creating some.
-- $1 user_id
select from users where user_id = $1 for no key update
