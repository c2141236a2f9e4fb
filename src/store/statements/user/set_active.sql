-- Suspends or reinstates; a suspension moves the credential version, so that logins in progress fail.
-- $1 user_id, $2 active
insert into users as u (user_id, active) values ($1, $2)
on conflict (user_id) do update set active = $2,
  credential_version = case when u.active and not $2
    then greatest(u.credential_version + 1, excluded.credential_version) else u.credential_version end
returning {user}
