-- Follows the other side: another jti, or the switch. The rows are held, and were judged untouched by the registry. The
-- jti before is forgotten: what it was answered with is known only there.
-- $1 user_ids, $2 sessions, $3 jtis, $4 enabled, $5 created, $6 session_expires, $7 idle_expires, $8 whether the jti is another, $9… clients
update sessions s set jti = case when h.moved then h.jti else s.jti end, enabled = h.enabled,
  created = case when h.moved then h.created else s.created end,
  session_expires = case when h.moved then h.session_expires else s.session_expires end,
  idle_expires = case when h.moved then h.idle_expires else s.idle_expires end,
  ip = case when h.moved then h.ip::inet else s.ip end,
  is_mobile = case when h.moved then h.is_mobile else s.is_mobile end,
  is_tablet = case when h.moved then h.is_tablet else s.is_tablet end,
  is_pc = case when h.moved then h.is_pc else s.is_pc end,
  is_bot = case when h.moved then h.is_bot else s.is_bot end,
  browser = case when h.moved then h.browser else s.browser end,
  browser_version = case when h.moved then h.browser_version else s.browser_version end,
  os = case when h.moved then h.os else s.os end,
  os_version = case when h.moved then h.os_version else s.os_version end,
  device = case when h.moved then h.device else s.device end,
  device_brand = case when h.moved then h.device_brand else s.device_brand end,
  device_model = case when h.moved then h.device_model else s.device_model end
from unnest($1::text[], $2::text[], $3::text[], $4::boolean[], $5::timestamptz[], $6::timestamptz[], $7::timestamptz[],
            $8::boolean[], {client_arrays_from_9})
  h (user_id, session, jti, enabled, created, session_expires, idle_expires, moved, {client_columns})
where s.user_id = h.user_id and s.session = h.session and s.revoked_at is null
