-- Takes or keeps a task that one replica does at a time. No row: it isn't due, or another replica is at it. A lease in a
-- row, since a lock of a session's would not survive a pooler in transaction mode; who crashes loses it with time.
-- $1 task, $2 replica, $3 lease (s)
update tasks set holder = $2, held_until = clock_timestamp() + make_interval(secs => $3)
where task = $1 and due <= clock_timestamp() and (holder = $2 or held_until is null or held_until <= clock_timestamp())
returning true
