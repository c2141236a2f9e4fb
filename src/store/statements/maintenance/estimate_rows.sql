-- About how many rows a purge will look at: what the planner knows.
select coalesce(sum(greatest(reltuples, 0)), 0)::bigint from pg_class
where oid in ('sessions'::regclass, 'generic_tokens'::regclass, 'auth_tokens'::regclass, 'credential_changes'::regclass)
