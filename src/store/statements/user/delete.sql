-- $1 user_id
delete from users where user_id = $1
