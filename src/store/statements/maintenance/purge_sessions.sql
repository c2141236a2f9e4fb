-- One step of the purge of sessions: looks at the next rows of the primary key and removes those that have been over for
-- long. That is judged again under the lock: a rotation that began in time may have been committed since. Rows that
-- somebody holds are left to the next purge (SKIP LOCKED): it waits for nobody. No index is needed, and so none has to
-- be written by a rotation.
-- $1 how many rows to look at, $2 over for how long (s), $3 whether to remove, $4 user_id and $5 session of the last one seen
with seen as materialized (
  select s.user_id, s.session, {session_over_since} <= clock_timestamp() - make_interval(secs => $2) as goes
  from sessions s where (s.user_id, s.session) > ($4, $5) order by s.user_id, s.session limit $1
),
held as materialized (
  select s.user_id, s.session from seen join sessions s on s.user_id = seen.user_id and s.session = seen.session
  where $3 and seen.goes and {session_over_since} <= clock_timestamp() - make_interval(secs => $2)
  for update of s skip locked
),
gone as (
  delete from sessions s using held h where s.user_id = h.user_id and s.session = h.session returning 1
)
select (select count(*) from seen), (select count(*) from seen where goes), (select count(*) from gone), l.user_id, l.session
from (select 1) one left join (select user_id, session from seen order by user_id desc, session desc limit 1) l on true
