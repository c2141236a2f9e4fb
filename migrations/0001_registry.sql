-- The registry's first schema: users, sessions (one row each), one-time tokens.
--
-- Identifiers are compared byte by byte (collate "C"): fast, and the same on every machine, whatever its locale.
-- All times are this database's clock. No column that a rotation changes may ever be indexed: see "sessions".

create table users (
  user_id            text collate "C" primary key,
  active             boolean not null default true,
  credential_version bigint not null default (extract(epoch from clock_timestamp()) * 1000000)::bigint,
  created            timestamptz not null default clock_timestamp()
);
comment on table users is 'Subjects, by the caller''s own name. Whoever creates something of a user holds FOR SHARE on this row; whoever ends a user''s things writes or locks it first.';
comment on column users.user_id is 'The caller''s name of the subject, 1 to 255 characters.';
comment on column users.active is 'False while suspended. An inactive user never has a live session or one-time token.';
comment on column users.credential_version is 'Moves when credentials are revoked or the user is suspended: the greater of old + 1 and the clock''s microseconds, so that it repeats neither here nor after a deletion.';
comment on column users.created is 'When the registry first heard of the user.';

create table sessions (
  id                bigint generated always as identity,
  user_id           text collate "C" not null references users (user_id) on delete cascade,
  session           text collate "C" not null,
  jti               text collate "C" not null,
  previous_jti      text collate "C",
  enabled           boolean not null,
  created           timestamptz not null,
  session_created   timestamptz not null,
  session_expires   timestamptz not null,
  idle_expires      timestamptz not null,
  idle_timeout      interval not null,
  rotation_grace    interval not null,
  rotations         bigint not null default 0,
  grace_count       bigint not null default 0,
  revoked_at        timestamptz,
  revocation_reason smallint,
  ip                inet,
  is_mobile         boolean,
  is_tablet         boolean,
  is_pc             boolean,
  is_bot            boolean,
  browser           varchar(64),
  browser_version   varchar(64),
  os                varchar(64),
  os_version        varchar(64),
  device            varchar(64),
  device_brand      varchar(64),
  device_model      varchar(64),
  primary key (user_id, session),
  constraint revoked_with_a_reason check ((revoked_at is null) = (revocation_reason is null))
) with (fillfactor = 70);
comment on table sessions is 'One row a session, which names the one jti that may be presented now. The room that fillfactor leaves lets a rotation stay on its page (HOT: no index is written); an index on any column that a rotation changes would end that.';
comment on column sessions.id is 'The row''s number, kept over rotations (seed: BaseToken.id).';
comment on column sessions.user_id is 'Whose session.';
comment on column sessions.session is 'The caller''s name of the session, unique per user, 1 to 255 characters.';
comment on column sessions.jti is 'The one JWT ID that may be presented now.';
comment on column sessions.previous_jti is 'The jti before the last rotation; null before the first. Every other jti is a replay, so no history is kept.';
comment on column sessions.enabled is 'The seed''s switch: false refuses rotation without ending the session.';
comment on column sessions.created is 'When the current jti was issued; the time of the last rotation (seed: BaseToken.created).';
comment on column sessions.session_created is 'When the session was opened.';
comment on column sessions.session_expires is 'When it ends whatever happens; never moves.';
comment on column sessions.idle_expires is 'When it ends without a rotation; never past session_expires.';
comment on column sessions.idle_timeout is 'How far a rotation moves idle_expires; the configured cap applies on top.';
comment on column sessions.rotation_grace is 'How long the previous jti is still answered with the current one; the configured cap applies on top.';
comment on column sessions.rotations is 'How many times the jti was rotated.';
comment on column sessions.grace_count is 'How many times a predecessor was answered inside the grace window.';
comment on column sessions.revoked_at is 'When the session was revoked; null while it is not. The first revocation stays.';
comment on column sessions.revocation_reason is 'tokenregistry.v1.RevocationReason as a number.';
comment on column sessions.ip is 'Client address, canonical (seed: BaseToken.ip).';
comment on column sessions.is_mobile is 'Client is a phone; null: not told.';
comment on column sessions.is_tablet is 'Client is a tablet; null: not told.';
comment on column sessions.is_pc is 'Client is a computer; null: not told.';
comment on column sessions.is_bot is 'Client is a robot; null: not told.';
comment on column sessions.browser is 'Browser family.';
comment on column sessions.browser_version is 'Browser version.';
comment on column sessions.os is 'Operating system family.';
comment on column sessions.os_version is 'Operating system version.';
comment on column sessions.device is 'Device family.';
comment on column sessions.device_brand is 'Device manufacturer.';
comment on column sessions.device_model is 'Device model.';

create table generic_state (
  user_id        text collate "C" not null references users (user_id) on delete cascade,
  purpose        text collate "C" not null,
  issued         bigint not null default 1,
  attempts       integer not null default 0,
  window_started timestamptz not null default clock_timestamp(),
  primary key (user_id, purpose)
) with (fillfactor = 80);
comment on table generic_state is 'One row a user and purpose. Its lock puts issues and guesses in order: without it, concurrent issues leave several tokens alive.';
comment on column generic_state.user_id is 'Whose tokens.';
comment on column generic_state.purpose is 'Of which purpose.';
comment on column generic_state.issued is 'How many tokens were issued.';
comment on column generic_state.attempts is 'Wrong guesses charged in the current window, over re-issues.';
comment on column generic_state.window_started is 'When the current window of guesses began.';

create table generic_tokens (
  id              bigint generated always as identity,
  user_id         text collate "C" not null references users (user_id) on delete cascade,
  purpose         text collate "C" not null,
  is_code         boolean not null,
  digest          bytea not null,
  challenge       text collate "C" not null,
  request_id      text collate "C",
  created         timestamptz not null,
  expires         timestamptz not null,
  attempts        integer not null default 0,
  max_attempts    integer not null,
  consumed_at     timestamptz,
  consumption_id  text collate "C",
  revoked_at      timestamptz,
  ip              inet,
  is_mobile       boolean,
  is_tablet       boolean,
  is_pc           boolean,
  is_bot          boolean,
  browser         varchar(64),
  browser_version varchar(64),
  os              varchar(64),
  os_version      varchar(64),
  device          varchar(64),
  device_brand    varchar(64),
  device_model    varchar(64),
  primary key (user_id, purpose, id)
) with (fillfactor = 80);
create index generic_tokens_digest on generic_tokens (digest);
comment on table generic_tokens is 'One-time secrets with a purpose. The value itself is never here.';
comment on column generic_tokens.id is 'The row''s number (seed: BaseToken.id); a greater one is newer.';
comment on column generic_tokens.user_id is 'Whose token.';
comment on column generic_tokens.purpose is 'What it is good for, 1 to 64 characters.';
comment on column generic_tokens.is_code is 'True of a short value: guesses at it are counted, and it is looked up by its user, never by its digest alone.';
comment on column generic_tokens.digest is 'SHA-256 of a random secret; HMAC-SHA-256 under a server key of a code (bound to user and purpose) or of a caller''s own value (bound to purpose).';
comment on column generic_tokens.challenge is 'Public name of the token in a guess.';
comment on column generic_tokens.request_id is 'The issue''s request id, by which a retry finds this row.';
comment on column generic_tokens.created is 'When it was issued (seed: BaseToken.created).';
comment on column generic_tokens.expires is 'When it stops being good.';
comment on column generic_tokens.attempts is 'Wrong guesses charged; always 0 of a secret.';
comment on column generic_tokens.max_attempts is 'Wrong guesses after which a code is dead; 0 of a secret.';
comment on column generic_tokens.consumed_at is 'When it was claimed; null while it is not.';
comment on column generic_tokens.consumption_id is 'The winner''s own name for the claim, by which its retry is known.';
comment on column generic_tokens.revoked_at is 'When it was revoked or replaced by a newer one.';
comment on column generic_tokens.ip is 'Client address, canonical (seed: BaseToken.ip).';
comment on column generic_tokens.is_mobile is 'Client is a phone; null: not told.';
comment on column generic_tokens.is_tablet is 'Client is a tablet; null: not told.';
comment on column generic_tokens.is_pc is 'Client is a computer; null: not told.';
comment on column generic_tokens.is_bot is 'Client is a robot; null: not told.';
comment on column generic_tokens.browser is 'Browser family.';
comment on column generic_tokens.browser_version is 'Browser version.';
comment on column generic_tokens.os is 'Operating system family.';
comment on column generic_tokens.os_version is 'Operating system version.';
comment on column generic_tokens.device is 'Device family.';
comment on column generic_tokens.device_brand is 'Device manufacturer.';
comment on column generic_tokens.device_model is 'Device model.';

create table credential_changes (
  user_id            text collate "C" not null references users (user_id) on delete cascade,
  request_id         text collate "C" not null,
  credential_version bigint not null,
  sessions           bigint not null,
  generic_tokens     bigint not null,
  changed            timestamptz not null default clock_timestamp(),
  primary key (user_id, request_id)
);
comment on table credential_changes is 'Credential changes that carried a request id, kept for 24 hours so that a retry answers the same.';
comment on column credential_changes.user_id is 'Whose credentials.';
comment on column credential_changes.request_id is 'The caller''s name of the request.';
comment on column credential_changes.credential_version is 'The version that the change produced.';
comment on column credential_changes.sessions is 'How many sessions it revoked.';
comment on column credential_changes.generic_tokens is 'How many one-time tokens it revoked.';
comment on column credential_changes.changed is 'When.';

create table server_keys (
  id      integer primary key check (id = 1),
  key     bytea not null,
  created timestamptz not null default clock_timestamp()
);
comment on table server_keys is 'The key made by the registry itself when none is configured; here so that replicas share it.';
comment on column server_keys.id is 'Always 1.';
comment on column server_keys.key is '32 random bytes.';
comment on column server_keys.created is 'When it was made.';
