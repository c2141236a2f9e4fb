-- Revokes API keys that are gone on the other side; forgets them.
-- $1 user_ids, $2 digests in hex
with gone as (
  delete from imported_auth_tokens i using unnest($1::text[], $2::text[]) r (user_id, digest)
  where i.user_id = r.user_id and i.digest = decode(r.digest, 'hex') returning i.user_id, i.digest
)
update auth_tokens t set revoked_at = clock_timestamp() from gone g where t.digest = g.digest and t.user_id = g.user_id and {valid}
