-- What a presented jti does to the row `s`, by the request `l`: the current one is swapped; a predecessor within its
-- grace is counted; any other is a replay and revokes (reason 2). The verdict is taken at statement_timestamp(), one
-- moment for every expression of the row.
  jti = case when s.jti = l.jti then l.new_jti else s.jti end,
  previous_jti = case when s.jti = l.jti then s.jti else s.previous_jti end,
  created = case when s.jti = l.jti then clock_timestamp() else s.created end,
  idle_expires = case when s.jti = l.jti
    then least(s.session_expires, clock_timestamp() + least(s.idle_timeout, make_interval(secs => $7)))
    else s.idle_expires end,
  rotations = s.rotations + (s.jti = l.jti)::int,
  grace_count = s.grace_count + (s.jti <> l.jti and {within_grace})::int,
  revoked_at = case when s.jti = l.jti or {within_grace} then null else clock_timestamp() end,
  revocation_reason = case when s.jti = l.jti or {within_grace} then null else 2 end,
  ip = case when s.jti = l.jti and l.told then l.ip::inet else s.ip end,
  is_mobile = case when s.jti = l.jti and l.told then l.is_mobile else s.is_mobile end,
  is_tablet = case when s.jti = l.jti and l.told then l.is_tablet else s.is_tablet end,
  is_pc = case when s.jti = l.jti and l.told then l.is_pc else s.is_pc end,
  is_bot = case when s.jti = l.jti and l.told then l.is_bot else s.is_bot end,
  browser = case when s.jti = l.jti and l.told then l.browser else s.browser end,
  browser_version = case when s.jti = l.jti and l.told then l.browser_version else s.browser_version end,
  os = case when s.jti = l.jti and l.told then l.os else s.os end,
  os_version = case when s.jti = l.jti and l.told then l.os_version else s.os_version end,
  device = case when s.jti = l.jti and l.told then l.device else s.device end,
  device_brand = case when s.jti = l.jti and l.told then l.device_brand else s.device_brand end,
  device_model = case when s.jti = l.jti and l.told then l.device_model else s.device_model end
