-- session/get.sql for many. LATERAL … OFFSET 0 holds the plan to one index look-up a question.
-- $1 user_ids, $2 sessions
select q.n, a.* from unnest($1::text[], $2::text[]) with ordinality q (user_id, session, n)
cross join lateral (
  select {session} from sessions s where s.user_id = q.user_id and s.session = q.session offset 0
) a
