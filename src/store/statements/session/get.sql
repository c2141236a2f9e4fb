-- One session.
-- $1 user_id, $2 session
select {session} from sessions s where s.user_id = $1 and s.session = $2
