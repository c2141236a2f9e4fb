-- Is the session live? Only the columns that decide; users is looked at only where the session was revoked.
-- $1 user_id, $2 session
select s.enabled, s.session_expires, s.idle_expires, s.revoked_at is not null as revoked, clock_timestamp() as now, {user_active}
from sessions s where s.user_id = $1 and s.session = $2
