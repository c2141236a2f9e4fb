-- Held by whoever makes an API key: more than FOR SHARE, since it puts the creations of one user in order too. Logins of
-- the same user wait for it; it is short, and keys are made seldom.
-- $1 user_id
select active from users where user_id = $1 for no key update
