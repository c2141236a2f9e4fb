-- What the other side had of sessions when they were last seen.
-- $1 user_ids, $2 sessions
select i.user_id, i.session, i.jti, i.enabled
from unnest($1::text[], $2::text[]) r (user_id, session)
join imported_sessions i on i.user_id = r.user_id and i.session = r.session
