-- What PostgreSQL knows of the registry's tables: pages to count, size with indexes, and how many of the updates stayed
-- on their page (HOT).
select c.relname::text, pg_relation_size(c.oid) / current_setting('block_size')::bigint,
       pg_total_relation_size(c.oid), coalesce(pg_stat_get_tuples_updated(c.oid), 0),
       coalesce(pg_stat_get_tuples_hot_updated(c.oid), 0), clock_timestamp()
from pg_class c
where c.oid in ('users'::regclass, 'sessions'::regclass, 'generic_tokens'::regclass, 'auth_tokens'::regclass)
