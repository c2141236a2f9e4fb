-- generic/replace.sql for many.
-- $1 user_ids, $2 purposes, $3 keep the others, $4 digests
update generic_tokens t set revoked_at = clock_timestamp()
from unnest($1::text[], $2::text[], $3::boolean[], $4::bytea[]) r (user_id, purpose, keep, digest)
where t.user_id = r.user_id and t.purpose = r.purpose and {unspent} and (not r.keep or t.digest = r.digest)
