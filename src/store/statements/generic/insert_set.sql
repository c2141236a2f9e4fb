-- generic/insert.sql for many. Who is who is known by the challenge, which is new.
-- $1 user_ids, $2 purposes, $3 codes, $4 digests, $5 challenges, $6 request ids, $7 lifetimes (s), $8 max attempts, $9… clients
insert into generic_tokens as t (user_id, purpose, is_code, digest, challenge, request_id, created, expires, max_attempts, {client_columns})
select h.user_id, h.purpose, h.is_code, h.digest, h.challenge, h.request_id, t.now, t.now + make_interval(secs => h.lifetime),
       h.max_attempts, h.ip::inet, {client_columns_after_ip}
from unnest($1::text[], $2::text[], $3::boolean[], $4::bytea[], $5::text[], $6::text[], $7::double precision[],
            $8::integer[], {client_arrays_from_9})
  h (user_id, purpose, is_code, digest, challenge, request_id, lifetime, max_attempts, {client_columns})
cross join lateral (select clock_timestamp() as now offset 0) t
returning {generic}
