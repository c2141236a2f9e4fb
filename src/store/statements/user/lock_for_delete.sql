-- $1 user_id
select from users where user_id = $1 for update
