-- Brings one-time tokens, beside those that are there. One that the registry has replaced by a newer one of its own
-- comes as revoked; a value that is there already doesn't come again, or it could be claimed twice.
-- $1 user_ids, $2 source keys, $3 purposes, $4 codes, $5 digests, $6 challenges, $7 created, $8 expires, $9… clients,
-- $21 max attempts, $22 revoked
with h as materialized (
  select h.* from unnest($1::text[], $2::text[], $3::text[], $4::boolean[], $5::bytea[], $6::text[], $7::timestamptz[],
                         $8::timestamptz[], {client_arrays_from_9}, $21::integer[], $22::boolean[])
    h (user_id, source_key, purpose, is_code, digest, challenge, created, expires, {client_columns}, max_attempts, revoked)
  where not exists (select from generic_tokens t where t.digest = h.digest and t.user_id = h.user_id and t.purpose = h.purpose)
),
added as (
  insert into generic_tokens (user_id, purpose, is_code, digest, challenge, created, expires, max_attempts, revoked_at, {client_columns})
  select h.user_id, h.purpose, h.is_code, h.digest, h.challenge, h.created, h.expires, h.max_attempts,
    case when h.revoked or exists (
      select from generic_tokens t where t.user_id = h.user_id and t.purpose = h.purpose and t.created > h.created
        and not exists (select from imported_generic_tokens i where i.user_id = t.user_id and i.purpose = t.purpose and i.id = t.id))
    then clock_timestamp() end,
    h.ip::inet, {client_columns_after_ip}
  from h order by h.created
  returning user_id, purpose, id, challenge
)
insert into imported_generic_tokens (user_id, source_key, purpose, id)
select a.user_id, h.source_key, a.purpose, a.id from added a join h on h.challenge = a.challenge
returning user_id, source_key
