-- maintenance/count_sessions.sql for users: active or suspended.
-- $1 from this page, $2 to before that page
select case when u.active then 1 else 3 end as state, '' as purpose, count(*), null::timestamptz
from users u where u.ctid >= format('(%s,0)', $1::bigint)::tid and u.ctid < format('(%s,0)', $2::bigint)::tid
group by u.active
