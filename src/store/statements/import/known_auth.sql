-- A page of the API keys that an import has brought.
-- $1 user_id and $2 digest in hex of the last one (null: from the start), $3 limit
select i.user_id, u.source_key, encode(i.digest, 'hex') as item
from imported_auth_tokens i join imported_users u on u.user_id = i.user_id
where $1::text is null or (i.user_id, i.digest) > ($1, decode($2::text, 'hex')) order by i.user_id, i.digest limit $3
