-- API keys.
--
-- last_used is written again and again: no index may hold it.

create table auth_tokens (
  id         bigint generated always as identity,
  user_id    text collate "C" not null references users (user_id) on delete cascade,
  prefix     text collate "C" not null,
  is_drf     boolean not null,
  digest     bytea not null,
  name       text collate "C" not null default '',
  request_id text collate "C",
  created    timestamptz not null default clock_timestamp(),
  expires    timestamptz,
  last_used  timestamptz,
  revoked_at timestamptz,
  primary key (user_id, prefix)
) with (fillfactor = 80);
create unique index auth_tokens_digest on auth_tokens (digest);
comment on table auth_tokens is 'API keys (seed: TokenModel). The key itself is never here. They outlive a suspension of their user, so whether that one is active is asked at each use.';
comment on column auth_tokens.id is 'The row''s number; a greater one is newer.';
comment on column auth_tokens.user_id is 'Whose key.';
comment on column auth_tokens.prefix is 'The key''s first characters, its public name: 8 of 40 hexadecimal digits, or trk_ and 8 more.';
comment on column auth_tokens.is_drf is 'True of a key of 40 hexadecimal digits, of which a user has at most one alive.';
comment on column auth_tokens.digest is 'SHA-256 of the whole key.';
comment on column auth_tokens.name is 'What the user calls it; empty: no name.';
comment on column auth_tokens.request_id is 'The creation''s request id, by which a retry finds this row.';
comment on column auth_tokens.created is 'When it was made.';
comment on column auth_tokens.expires is 'When it stops being good; null: it doesn''t.';
comment on column auth_tokens.last_used is 'When it was last used, at most a minute behind; null: not yet.';
comment on column auth_tokens.revoked_at is 'When it was revoked or replaced; null while it isn''t.';

alter table credential_changes add column auth_tokens bigint not null default 0;
comment on column credential_changes.auth_tokens is 'How many API keys it revoked.';
