-- How many live sessions a user has, counted no further than needed.
-- $1 user_id, $2 count no further
select count(*) from (select from sessions s where s.user_id = $1 and {live} limit $2) c
