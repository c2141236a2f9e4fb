-- Whether the presented jti writes at all: not on a dead session, not what only repeats the last rotation, and a
-- disabled session only ever on a replay.
  {live}
  and case when s.jti = l.jti
    then s.enabled and s.previous_jti is distinct from l.new_jti
    else not {within_retry} and (s.enabled or not {within_grace}) end
