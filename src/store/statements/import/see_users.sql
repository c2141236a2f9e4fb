-- Remembers users as they are there. The credential version stays that of the first import.
-- $1 user_ids, $2 source keys, $3 active there
insert into imported_users as i (user_id, source_key, active, credential_version)
select u.user_id, r.source_key, r.active, u.credential_version
from unnest($1::text[], $2::text[], $3::boolean[]) r (user_id, source_key, active) join users u on u.user_id = r.user_id
on conflict (user_id) do update set active = excluded.active where i.active <> excluded.active
