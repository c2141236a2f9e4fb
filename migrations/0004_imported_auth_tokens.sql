-- API keys that an import has brought: see imported_users.

create table imported_auth_tokens (
  user_id text collate "C" not null references users (user_id) on delete cascade,
  digest  bytea not null,
  primary key (user_id, digest)
);
comment on table imported_auth_tokens is 'API keys that an import has brought.';
comment on column imported_auth_tokens.user_id is 'Whose key.';
comment on column imported_auth_tokens.digest is 'auth_tokens.digest of the row here.';
