-- generic/lock_state_for_issue.sql for many: issues of the same user and purpose wait.
-- $1 user_ids, $2 purposes (no pair twice)
insert into generic_state as g (user_id, purpose)
select u.user_id, r.purpose from unnest($1::text[], $2::text[]) r (user_id, purpose)
join users u on u.user_id = r.user_id where u.active order by u.user_id, r.purpose
on conflict (user_id, purpose) do update set issued = g.issued + 1
