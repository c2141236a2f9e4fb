-- The statistics as they were last counted, and how old they are in seconds.
select s.counted::text, extract(epoch from clock_timestamp() - s.as_of)::double precision from statistics s where s.id = 1
