-- What an import saw on the other side, so that a later one brings only what has changed there since and takes back
-- nothing that the registry has done. imported_users alone doesn't go with the user's row: whom the registry deletes is
-- not to come back by the next import. It goes when imports are over (`token-registry import forget`).

create table imported_users (
  user_id            text collate "C" primary key,
  source_key         text not null,
  active             boolean not null,
  credential_version bigint not null
);
comment on table imported_users is 'Users that an import brought or found here.';
comment on column imported_users.user_id is 'The registry''s name of the user.';
comment on column imported_users.source_key is 'The other side''s primary key, as text.';
comment on column imported_users.active is 'Whether the user was active there when last seen.';
comment on column imported_users.credential_version is 'users.credential_version at the first import. If it is another now, what is older on the other side than that change stays ended.';

create table imported_sessions (
  user_id text collate "C" not null references users (user_id) on delete cascade,
  session text collate "C" not null,
  jti     text collate "C" not null,
  enabled boolean not null,
  primary key (user_id, session)
);
comment on table imported_sessions is 'Sessions that an import brought. One that has rotated here is the registry''s; one that has not follows the other side.';
comment on column imported_sessions.user_id is 'Whose session.';
comment on column imported_sessions.session is 'The session.';
comment on column imported_sessions.jti is 'The jti there when last seen.';
comment on column imported_sessions.enabled is 'The switch there when last seen.';

create table imported_generic_tokens (
  user_id    text collate "C" not null references users (user_id) on delete cascade,
  source_key text collate "C" not null,
  purpose    text collate "C" not null,
  id         bigint not null,
  primary key (user_id, source_key)
);
comment on table imported_generic_tokens is 'One-time tokens that an import brought.';
comment on column imported_generic_tokens.user_id is 'Whose token.';
comment on column imported_generic_tokens.source_key is 'The other side''s primary key, as text.';
comment on column imported_generic_tokens.purpose is 'generic_tokens.purpose of the row here.';
comment on column imported_generic_tokens.id is 'generic_tokens.id of the row here.';
