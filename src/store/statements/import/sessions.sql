-- Sessions as they are here, held until the transaction ends.
-- $1 user_ids, $2 sessions
select s.user_id, s.session, s.jti, s.enabled, s.rotations, s.revoked_at is not null as revoked, s.session_expires
from unnest($1::text[], $2::text[]) r (user_id, session)
join sessions s on s.user_id = r.user_id and s.session = r.session
order by s.user_id, s.session for no key update of s
