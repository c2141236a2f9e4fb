-- Gives a task back, done.
-- $1 task, $2 replica, $3 in how long it is due again (s)
update tasks set holder = null, held_until = null, due = clock_timestamp() + make_interval(secs => $3)
where task = $1 and holder = $2
