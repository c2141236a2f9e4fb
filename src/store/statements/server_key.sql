-- The registry's own key: the proposed one the first time, what is there afterwards.
-- $1 proposed key (null: only look)
with made as (
  insert into server_keys (id, key) select 1, $1::bytea where $1::bytea is not null on conflict (id) do nothing returning key
)
select key, true as made from made union all select key, false from server_keys where id = 1 limit 1
