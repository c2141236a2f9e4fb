-- The compare-and-swap. One conditional write answers all of: rotated (current jti), grace (permitted predecessor),
-- replay (any other jti: revoked here, before the answer). No row: nothing was written; session/get.sql tells why.
-- The verdict is taken at statement_timestamp(), one moment for every expression of the row.
-- $1 user_id, $2 session, $3 jti, $4 new jti, $5 grace cap (s), $6 retry window (s), $7 idle cap (s), $8 whether a client is told, $9… client
update sessions s set
  jti = case when s.jti = $3 then $4 else s.jti end,
  previous_jti = case when s.jti = $3 then s.jti else s.previous_jti end,
  created = case when s.jti = $3 then clock_timestamp() else s.created end,
  idle_expires = case when s.jti = $3
    then least(s.session_expires, clock_timestamp() + least(s.idle_timeout, make_interval(secs => $7)))
    else s.idle_expires end,
  rotations = s.rotations + (s.jti = $3)::int,
  grace_count = s.grace_count + (s.jti <> $3 and {within_grace})::int,
  revoked_at = case when s.jti = $3 or {within_grace} then null else clock_timestamp() end,
  revocation_reason = case when s.jti = $3 or {within_grace} then null else 2 end,
  {client_set_if_rotated_and_8_from_9}
where s.user_id = $1 and s.session = $2
  and {live}
  and case when s.jti = $3
    then s.enabled and s.previous_jti is distinct from $4
    else not {within_retry} and (s.enabled or not {within_grace}) end
returning {session}
