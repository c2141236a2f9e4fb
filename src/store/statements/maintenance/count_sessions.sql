-- Counts the sessions of some pages of the table, by state (the numbers of TokenState). Pages instead of one long
-- statement: a snapshot that is held for seconds keeps PostgreSQL from clearing pages, and so rotations from staying on
-- theirs.
-- $1 from this page, $2 to before that page
select c.state, '' as purpose, count(*), min(c.over_since) from (
  select case when s.revoked_at is not null then 5
              when {session_over_since} <= clock_timestamp() then 4
              when not s.enabled then 2
              else 1 end as state,
         case when {session_over_since} <= clock_timestamp() then {session_over_since} end as over_since
  from sessions s where s.ctid >= format('(%s,0)', $1::bigint)::tid and s.ctid < format('(%s,0)', $2::bigint)::tid
) c group by c.state
