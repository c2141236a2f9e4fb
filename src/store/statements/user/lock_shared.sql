-- Held by whoever creates something of a user: it waits for, and holds up, whoever ends the user's things.
-- $1 user_id
select active from users where user_id = $1 for share
