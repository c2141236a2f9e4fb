-- Ends one-time tokens that are gone on the other side: used, replaced or too old there. Forgets them.
-- $1 user_ids, $2 source keys
with gone as (
  delete from imported_generic_tokens i using unnest($1::text[], $2::text[]) r (user_id, source_key)
  where i.user_id = r.user_id and i.source_key = r.source_key returning i.user_id, i.purpose, i.id
)
update generic_tokens t set revoked_at = clock_timestamp()
from gone g where t.user_id = g.user_id and t.purpose = g.purpose and t.id = g.id and {unspent}
