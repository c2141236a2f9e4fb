-- Ends sessions that are gone on the other side and that the registry has not rotated since; forgets all of them.
-- $1 user_ids, $2 sessions, $3 reason
with gone as (
  delete from imported_sessions i using unnest($1::text[], $2::text[]) r (user_id, session)
  where i.user_id = r.user_id and i.session = r.session returning i.user_id, i.session, i.jti
)
update sessions s set revoked_at = clock_timestamp(), revocation_reason = $3
from gone g where s.user_id = g.user_id and s.session = g.session and s.jti = g.jti and s.rotations = 0 and {live}
