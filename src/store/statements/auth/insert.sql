-- $1 user_id, $2 prefix, $3 of 40 digits, $4 digest, $5 name, $6 request id, $7 lifetime (s; null: no end)
insert into auth_tokens as t (user_id, prefix, is_drf, digest, name, request_id, created, expires)
select $1, $2, $3, $4, $5, $6, n.now, n.now + make_interval(secs => $7)
from (select clock_timestamp() as now offset 0) n
returning t.id, t.created, t.expires, clock_timestamp()
