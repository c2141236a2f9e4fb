-- generic/consume_secret.sql for many. Tokens that somebody holds are left out (SKIP LOCKED), never waited for: their
-- claims go singly, as do all that claim nothing. Two claims of one token: one of them gets it.
-- $1 purposes, $2 user_ids (null: anyone's), $3 consumption ids, $4 $5 $6 digests that each value may be kept as
with r as materialized (
  select * from unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::bytea[], $6::bytea[])
    with ordinality r (purpose, user_id, consumption_id, first_digest, second_digest, third_digest, n)
),
meant as materialized (
  select r.n, r.consumption_id, m.* from r cross join lateral (
    select c.user_id, c.purpose, c.id from generic_tokens c
    where c.digest = any (array[r.first_digest, r.second_digest, r.third_digest]) and not c.is_code
      and c.purpose = r.purpose and (r.user_id is null or c.user_id = r.user_id)
    order by coalesce(c.consumption_id = r.consumption_id, false) desc, c.id desc limit 1) m
),
l as materialized (
  select m.* from meant m
  join generic_tokens t on t.user_id = m.user_id and t.purpose = m.purpose and t.id = m.id
  for no key update of t skip locked
)
update generic_tokens t set consumed_at = clock_timestamp(), consumption_id = l.consumption_id
from l where t.user_id = l.user_id and t.purpose = l.purpose and t.id = l.id and {unspent}
returning {generic}, l.n
