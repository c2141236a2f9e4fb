-- Brings API keys of 40 digits, which import/judge_auth.sql has found nothing in the way of.
-- $1 user_ids, $2 digests, $3 prefixes, $4 created
with added as (
  insert into auth_tokens (user_id, prefix, is_drf, digest, created)
  select r.user_id, r.prefix, true, r.digest, r.created
  from unnest($1::text[], $2::bytea[], $3::text[], $4::timestamptz[]) r (user_id, digest, prefix, created)
  returning user_id, digest
)
insert into imported_auth_tokens (user_id, digest) select user_id, digest from added
