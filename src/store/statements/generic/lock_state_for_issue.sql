-- The lock that puts issues of one user and purpose in order. No row: no such user, or suspended.
-- $1 user_id, $2 purpose
insert into generic_state as g (user_id, purpose)
select u.user_id, $2 from users u where u.user_id = $1 and u.active
on conflict (user_id, purpose) do update set issued = g.issued + 1
returning g.attempts, g.window_started, clock_timestamp() as now
