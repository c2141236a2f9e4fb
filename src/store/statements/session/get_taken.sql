-- The session whose name was taken when add.sql came, and its user as of the same moment. What add.sql saw of the user is
-- older: a credential change between the two would be told by halves, a session that it ended and a version that is current.
-- $1 user_id, $2 session, $3 credential version
select u.active, ($3::text is null or u.credential_version::text = $3) as credentials_current, {session}
from users u join sessions s on s.user_id = u.user_id and s.session = $2
where u.user_id = $1
