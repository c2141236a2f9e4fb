-- A user's sessions, newest first, after a given one.
-- $1 user_id, $2 session_created of the last one seen (null: from the start), $3 its name, $4 limit
select {session} from sessions s
where s.user_id = $1
  and ($2::timestamptz is null or s.session_created < $2 or (s.session_created = $2 and s.session > $3::text))
order by s.session_created desc, s.session limit $4
