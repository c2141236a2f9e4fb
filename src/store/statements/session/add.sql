-- Opens a session. The user's row is held FOR SHARE and judged from the locked row, so that no session is born alive
-- beside a deactivation or a credential change. No row: no such user. A row without a session: refused, or the name is taken.
-- $1 user_id, $2 session, $3 jti, $4 enabled, $5 lifetime (s), $6 idle timeout (s), $7 grace (s), $8 credential version, $9… client
with holder as materialized (
  select user_id, active, ($8::text is null or credential_version::text = $8) as credentials_current
  from users where user_id = $1 for share
),
added as (
  insert into sessions as s (user_id, session, jti, enabled, created, session_created, session_expires, idle_expires,
                             idle_timeout, rotation_grace, {client_columns})
  select h.user_id, $2, $3, $4, t.now, t.now, t.now + make_interval(secs => $5),
         t.now + make_interval(secs => least($5, $6)), make_interval(secs => $6), make_interval(secs => $7), {client_values_from_9}
  from holder h cross join lateral (select clock_timestamp() as now offset 0) t
  where h.active and h.credentials_current
  on conflict (user_id, session) do nothing
  returning {session}
)
select h.active as holder_active, h.credentials_current, a.* from holder h left join added a on true
