-- Writes times of last use, where the one that is there is a minute old. Rows that somebody holds are left out
-- (SKIP LOCKED): the next use will be noted again.
-- $1 digests, $2 when each was used
with r as materialized (select * from unnest($1::bytea[], $2::timestamptz[]) r (digest, used)),
l as materialized (
  select t.user_id, t.prefix, r.used from r join auth_tokens t on t.digest = r.digest
  where t.last_used is null or t.last_used <= r.used - interval '1 minute'
  for no key update of t skip locked
)
update auth_tokens t set last_used = l.used from l where t.user_id = l.user_id and t.prefix = l.prefix
