-- A page of the users that an import has seen.
-- $1 user_id of the last one (null: from the start), $2 limit
select user_id, source_key, ''::text as item from imported_users
where $1::text is null or user_id > $1 order by user_id limit $2
