-- Remembers sessions as they are there.
-- $1 user_ids, $2 sessions, $3 jtis, $4 enabled
update imported_sessions i set jti = r.jti, enabled = r.enabled
from unnest($1::text[], $2::text[], $3::text[], $4::boolean[]) r (user_id, session, jti, enabled)
where i.user_id = r.user_id and i.session = r.session
