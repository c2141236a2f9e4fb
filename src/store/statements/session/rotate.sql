-- The compare-and-swap. One conditional write answers all of: rotated, grace, replay (revoked here, before the answer).
-- No row: nothing was written; session/get.sql tells why.
-- $1 user_id, $2 session, $3 jti, $4 new jti, $5 grace cap (s), $6 retry window (s), $7 idle cap (s), $8 whether a client is told, $9… client
update sessions s set
{rotated}
from (select $3::text as jti, $4::text as new_jti, $8::boolean as told, {client_named_from_9}) l
where s.user_id = $1 and s.session = $2 and
{rotates}
returning {session}
