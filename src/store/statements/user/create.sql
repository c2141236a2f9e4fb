-- Makes a user known.
-- $1 user_id
insert into users (user_id) values ($1) on conflict (user_id) do nothing
