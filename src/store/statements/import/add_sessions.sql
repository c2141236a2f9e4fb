-- Opens sessions as the other side has them, and remembers that. Their users are held and judged: whoever is inactive
-- brings revoked sessions.
-- $1 user_ids, $2 sessions, $3 jtis, $4 enabled, $5 created, $6 session_expires, $7 idle_expires, $8 revocation reasons, $9… clients,
-- $21 idle timeout (s), $22 grace (s)
with added as (
  insert into sessions (user_id, session, jti, enabled, created, session_created, session_expires, idle_expires,
                        revoked_at, revocation_reason, idle_timeout, rotation_grace, {client_columns})
  select h.user_id, h.session, h.jti, h.enabled, h.created, h.created, h.session_expires, h.idle_expires,
         case when h.reason is not null then clock_timestamp() end, h.reason, make_interval(secs => $21), make_interval(secs => $22),
         h.ip::inet, {client_columns_after_ip}
  from unnest($1::text[], $2::text[], $3::text[], $4::boolean[], $5::timestamptz[], $6::timestamptz[], $7::timestamptz[],
              $8::smallint[], {client_arrays_from_9})
    h (user_id, session, jti, enabled, created, session_expires, idle_expires, reason, {client_columns})
  on conflict (user_id, session) do nothing
  returning user_id, session, jti, enabled
)
insert into imported_sessions as i (user_id, session, jti, enabled) select user_id, session, jti, enabled from added
on conflict (user_id, session) do update set jti = excluded.jti, enabled = excluded.enabled
