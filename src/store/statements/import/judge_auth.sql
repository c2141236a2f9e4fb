-- What is known of API keys: whether an import has seen one, whether it is here, and whether another stands in its way (a
-- user has one live key of 40 digits, and each public name once). Runs while the users are held, so that it holds.
-- $1 user_ids, $2 digests, $3 prefixes
select r.n, i.user_id is not null as seen, t.user_id is not null as here,
  exists (select from auth_tokens t where t.user_id = r.user_id and (t.is_drf and {valid} or t.prefix = r.prefix)) as taken
from unnest($1::text[], $2::bytea[], $3::text[]) with ordinality r (user_id, digest, prefix, n)
left join imported_auth_tokens i on i.user_id = r.user_id and i.digest = r.digest
left join auth_tokens t on t.digest = r.digest
