-- session/count_live.sql for many.
-- $1 user_ids, $2 count no further
select q.n, c.live from unnest($1::text[]) with ordinality q (user_id, n)
cross join lateral (
  select count(*) as live from (select from sessions s where s.user_id = q.user_id and {live} limit $2) c
) c
