-- user/lock_shared.sql and generic/lock_state_for_issue.sql for many: the members whose user is active and held by nobody,
-- with the lock that orders their issues. Rows that somebody holds are left out (SKIP LOCKED): their requests go singly.
-- $1 user_ids, $2 purposes
with r as materialized (
  select * from unnest($1::text[], $2::text[]) with ordinality r (user_id, purpose, n)
),
u as materialized (
  select r.* from r join users u on u.user_id = r.user_id where u.active for share of u skip locked
),
l as materialized (
  select u.n, g.attempts, g.window_started
  from u join generic_state g on g.user_id = u.user_id and g.purpose = u.purpose for no key update of g skip locked
),
i as (
  insert into generic_state as g (user_id, purpose)
  select u.user_id, u.purpose from u
  where not exists (select from generic_state g where g.user_id = u.user_id and g.purpose = u.purpose)
  order by u.user_id, u.purpose
  on conflict (user_id, purpose) do nothing
  returning g.user_id, g.purpose, g.attempts, g.window_started
)
select n, attempts, window_started, clock_timestamp() from l
union all
select u.n, i.attempts, i.window_started, clock_timestamp()
from i join u on u.user_id = i.user_id and u.purpose = i.purpose
