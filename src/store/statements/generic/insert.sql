-- $1 user_id, $2 purpose, $3 is a code, $4 digest, $5 challenge, $6 request id, $7 lifetime (s), $8 max attempts, $9… client
insert into generic_tokens as t (user_id, purpose, is_code, digest, challenge, request_id, created, expires, max_attempts, {client_columns})
select $1, $2, $3, $4, $5, $6, n.now, n.now + make_interval(secs => $7), $8, {client_values_from_9}
from (select clock_timestamp() as now offset 0) n
returning {generic}
