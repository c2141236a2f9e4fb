-- A page of the one-time tokens that an import has brought.
-- $1 user_id and $2 source key of the last one (null: from the start), $3 limit
select i.user_id, i.source_key, i.source_key as item from imported_generic_tokens i
where $1::text is null or (i.user_id, i.source_key) > ($1, $2::text) order by i.user_id, i.source_key limit $3
