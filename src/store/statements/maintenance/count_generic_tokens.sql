-- maintenance/count_sessions.sql for one-time tokens, by purpose too.
-- $1 from this page, $2 to before that page
select c.state, c.purpose, count(*), min(c.over_since) from (
  select case when t.consumed_at is not null then 7
              when t.revoked_at is not null then 5
              when t.expires <= clock_timestamp() then 4
              when t.is_code and t.attempts >= t.max_attempts then 8
              else 1 end as state,
         t.purpose,
         case when {generic_over_since} <= clock_timestamp() then {generic_over_since} end as over_since
  from generic_tokens t where t.ctid >= format('(%s,0)', $1::bigint)::tid and t.ctid < format('(%s,0)', $2::bigint)::tid
) c group by c.state, c.purpose
