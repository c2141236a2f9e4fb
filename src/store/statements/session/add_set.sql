-- session/add.sql for many. Users whose row somebody is writing are left out (SKIP LOCKED), never waited for: their
-- requests go singly, as do all that were not added.
-- $1 user_ids, $2 sessions, $3 jtis, $4 enabled, $5 lifetimes (s), $6 idle timeouts (s), $7 graces (s), $8 credential versions, $9… clients
with r as materialized (
  select * from unnest($1::text[], $2::text[], $3::text[], $4::boolean[], $5::double precision[],
                       $6::double precision[], $7::double precision[], $8::text[], {client_arrays_from_9})
    with ordinality r (user_id, session, jti, enabled, lifetime, idle, grace, version, {client_columns}, n)
),
h as materialized (
  select r.*, u.active, (r.version is null or u.credential_version::text = r.version) as credentials_current
  from r join users u on u.user_id = r.user_id for share of u skip locked
),
added as (
  insert into sessions as s (user_id, session, jti, enabled, created, session_created, session_expires, idle_expires,
                             idle_timeout, rotation_grace, {client_columns})
  select h.user_id, h.session, h.jti, h.enabled, t.now, t.now, t.now + make_interval(secs => h.lifetime),
         t.now + make_interval(secs => least(h.lifetime, h.idle)), make_interval(secs => h.idle),
         make_interval(secs => h.grace), h.ip::inet, {client_columns_after_ip}
  from h cross join lateral (select clock_timestamp() as now offset 0) t
  where h.active and h.credentials_current
  order by h.user_id, h.session
  on conflict (user_id, session) do nothing
  returning {session}
)
select h.n, a.* from h join added a on a.user_id = h.user_id and a.session = h.session
