-- Users as they are here and as they were there when last seen (null: never). Held FOR SHARE, as by whoever creates
-- something of a user.
-- $1 user_ids
select u.user_id, u.active, u.credential_version, i.active as seen_active, i.credential_version as seen_version,
       clock_timestamp() as now
from users u left join imported_users i on i.user_id = u.user_id
where u.user_id = any ($1) order by u.user_id for share of u
