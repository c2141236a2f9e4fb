-- The user is gone on the other side and was suspended here.
-- $1 user_id
delete from imported_users where user_id = $1
