-- auth/find.sql for many. LATERAL … OFFSET 0 holds the plan to one index look-up a key.
-- $1 digests
select q.n, a.* from unnest($1::bytea[]) with ordinality q (digest, n)
cross join lateral (
  select {presented} from auth_tokens t join users u on u.user_id = t.user_id where t.digest = q.digest offset 0
) a
