-- session/check.sql for many. LATERAL … OFFSET 0 holds the plan to one index look-up a question.
-- $1 user_ids, $2 sessions
select q.n, a.enabled, a.session_expires, a.idle_expires, a.revoked, a.now, a.user_active
from unnest($1::text[], $2::text[]) with ordinality q (user_id, session, n)
left join lateral (
  select s.enabled, s.session_expires, s.idle_expires, s.revoked_at is not null as revoked, clock_timestamp() as now, {user_active}
  from sessions s where s.user_id = q.user_id and s.session = q.session offset 0
) a on true
