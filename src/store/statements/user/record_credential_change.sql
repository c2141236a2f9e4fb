-- $1 user_id, $2 request id, $3 credential version, $4 sessions revoked, $5 one-time tokens revoked, $6 API keys revoked
insert into credential_changes (user_id, request_id, credential_version, sessions, generic_tokens, auth_tokens)
values ($1, $2, $3, $4, $5, $6)
on conflict (user_id, request_id) do update
  set credential_version = $3, sessions = $4, generic_tokens = $5, auth_tokens = $6, changed = clock_timestamp()
