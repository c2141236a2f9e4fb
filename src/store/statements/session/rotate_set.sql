-- session/rotate.sql for many. Rows that somebody holds are left out (SKIP LOCKED), never waited for: their requests go
-- singly, as do those that write nothing.
-- $1 user_ids, $2 sessions, $3 jtis, $4 new jtis, $5 grace cap (s), $6 retry window (s), $7 idle cap (s), $8 whether a client is told, $9… clients
with r as materialized (
  select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $8::boolean[], {client_arrays_from_9})
    with ordinality r (user_id, session, jti, new_jti, told, {client_columns}, n)
),
l as materialized (
  select r.* from r join sessions s on s.user_id = r.user_id and s.session = r.session
  for no key update of s skip locked
)
update sessions s set
{rotated}
from l
where s.user_id = l.user_id and s.session = l.session and
{rotates}
returning l.n, {session}
