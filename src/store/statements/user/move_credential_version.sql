-- $1 user_id
insert into users as u (user_id) values ($1)
on conflict (user_id) do update set credential_version = greatest(u.credential_version + 1, excluded.credential_version)
returning {user}
