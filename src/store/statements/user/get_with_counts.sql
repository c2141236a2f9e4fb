-- A user, and how much of theirs is live.
-- $1 user_id
select {user},
  (select count(*) from sessions s where s.user_id = u.user_id and {live}) as live_sessions,
  (select count(*) from generic_tokens t where t.user_id = u.user_id and {claimable}) as live_generic_tokens,
  (select count(*) from auth_tokens t where t.user_id = u.user_id and {valid}) as live_auth_tokens
from users u where u.user_id = $1
