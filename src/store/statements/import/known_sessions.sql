-- A page of the sessions that an import has brought.
-- $1 user_id and $2 session of the last one (null: from the start), $3 limit
select i.user_id, u.source_key, i.session as item
from imported_sessions i join imported_users u on u.user_id = i.user_id
where $1::text is null or (i.user_id, i.session) > ($1, $2::text) order by i.user_id, i.session limit $3
