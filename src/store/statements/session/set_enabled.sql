-- The seed's switch, on what is live only.
-- $1 user_id, $2 session, $3 enabled
update sessions s set enabled = $3 where s.user_id = $1 and s.session = $2 and {live} returning {session}
