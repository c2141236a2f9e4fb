-- Which one-time tokens an import has brought already.
-- $1 user_ids, $2 source keys
select i.user_id, i.source_key from unnest($1::text[], $2::text[]) r (user_id, source_key)
join imported_generic_tokens i on i.user_id = r.user_id and i.source_key = r.source_key
