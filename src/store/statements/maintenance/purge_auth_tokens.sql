-- maintenance/purge_sessions.sql for API keys. A key without end that was not revoked is never over.
-- $1 how many rows to look at, $2 over for how long (s), $3 whether to remove, $4 user_id and $5 prefix of the last one seen
with seen as materialized (
  select t.user_id, t.prefix,
         coalesce({key_over_since} <= clock_timestamp() - make_interval(secs => $2), false) as goes
  from auth_tokens t where (t.user_id, t.prefix) > ($4, $5) order by t.user_id, t.prefix limit $1
),
held as materialized (
  select t.user_id, t.prefix from seen join auth_tokens t on t.user_id = seen.user_id and t.prefix = seen.prefix
  where $3 and seen.goes and {key_over_since} <= clock_timestamp() - make_interval(secs => $2)
  for update of t skip locked
),
gone as (
  delete from auth_tokens t using held h where t.user_id = h.user_id and t.prefix = h.prefix returning 1
)
select (select count(*) from seen), (select count(*) from seen where goes), (select count(*) from gone), l.user_id, l.prefix
from (select 1) one left join (select user_id, prefix from seen order by user_id desc, prefix desc limit 1) l on true
