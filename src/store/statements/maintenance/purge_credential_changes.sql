-- maintenance/purge_sessions.sql for credential changes: a retry may need one for 24 hours, whatever is asked for here.
-- $1 how many rows to look at, $2 over for how long (s), $3 whether to remove, $4 user_id and $5 request_id of the last one seen
with seen as materialized (
  select c.user_id, c.request_id,
         c.changed + interval '24 hours' <= clock_timestamp() - make_interval(secs => $2) as goes
  from credential_changes c where (c.user_id, c.request_id) > ($4, $5) order by c.user_id, c.request_id limit $1
),
held as materialized (
  select c.user_id, c.request_id
  from seen join credential_changes c on c.user_id = seen.user_id and c.request_id = seen.request_id
  where $3 and seen.goes and c.changed + interval '24 hours' <= clock_timestamp() - make_interval(secs => $2)
  for update of c skip locked
),
gone as (
  delete from credential_changes c using held h where c.user_id = h.user_id and c.request_id = h.request_id returning 1
)
select (select count(*) from seen), (select count(*) from seen where goes), (select count(*) from gone), l.user_id, l.request_id
from (select 1) one left join (select user_id, request_id from seen order by user_id desc, request_id desc limit 1) l on true
