-- $1 the statistics as JSON, $2 when they were counted
insert into statistics (id, as_of, counted) values (1, $2, $1::text::jsonb)
on conflict (id) do update set as_of = excluded.as_of, counted = excluded.counted
