-- maintenance/purge_sessions.sql for one-time tokens.
-- $1 how many rows to look at, $2 over for how long (s), $3 whether to remove, $4 user_id, $5 purpose and $6 id of the last one seen
with seen as materialized (
  select t.user_id, t.purpose, t.id, {generic_over_since} <= clock_timestamp() - make_interval(secs => $2) as goes
  from generic_tokens t where (t.user_id, t.purpose, t.id) > ($4, $5, $6) order by t.user_id, t.purpose, t.id limit $1
),
held as materialized (
  select t.user_id, t.purpose, t.id
  from seen join generic_tokens t on t.user_id = seen.user_id and t.purpose = seen.purpose and t.id = seen.id
  where $3 and seen.goes and {generic_over_since} <= clock_timestamp() - make_interval(secs => $2)
  for update of t skip locked
),
gone as (
  delete from generic_tokens t using held h where t.user_id = h.user_id and t.purpose = h.purpose and t.id = h.id returning 1
)
select (select count(*) from seen), (select count(*) from seen where goes), (select count(*) from gone), l.user_id, l.purpose, l.id
from (select 1) one
left join (select user_id, purpose, id from seen order by user_id desc, purpose desc, id desc limit 1) l on true
