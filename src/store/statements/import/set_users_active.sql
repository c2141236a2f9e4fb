-- Suspends or reinstates; a suspension moves the credential version. See user/set_active.sql.
-- $1 user_ids, $2 active
update users u set active = r.active,
  credential_version = case when r.active then u.credential_version
    else greatest(u.credential_version + 1, (extract(epoch from clock_timestamp()) * 1000000)::bigint) end
from unnest($1::text[], $2::boolean[]) r (user_id, active)
where u.user_id = r.user_id and u.active <> r.active
