-- session/revoke.sql for many. Rows that somebody holds are left out (SKIP LOCKED) and answered by no row: their
-- requests go singly, as do those with nothing to revoke.
-- $1 user_ids, $2 sessions, $3 reasons
with r as materialized (
  select * from unnest($1::text[], $2::text[], $3::smallint[]) with ordinality r (user_id, session, reason, n)
),
l as materialized (
  select r.* from r join sessions s on s.user_id = r.user_id and s.session = r.session
  for no key update of s skip locked
)
update sessions s set revoked_at = clock_timestamp(), revocation_reason = l.reason
from l where s.user_id = l.user_id and s.session = l.session and {live}
returning l.n
