-- maintenance/count_sessions.sql for API keys. Whether their users are suspended isn't looked at.
-- $1 from this page, $2 to before that page
select c.state, '' as purpose, count(*), min(c.over_since) from (
  select case when t.revoked_at is not null then 5
              when t.expires <= clock_timestamp() then 4
              else 1 end as state,
         case when {key_over_since} <= clock_timestamp() then {key_over_since} end as over_since
  from auth_tokens t where t.ctid >= format('(%s,0)', $1::bigint)::tid and t.ctid < format('(%s,0)', $2::bigint)::tid
) c group by c.state
