-- $1 user_id
select {user} from users u where u.user_id = $1
