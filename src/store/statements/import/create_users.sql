-- Makes users known, but none whom an import has seen before: if such a one is gone, the registry has deleted them.
-- $1 user_ids, $2 active
insert into users (user_id, active)
select r.user_id, r.active from unnest($1::text[], $2::boolean[]) r (user_id, active)
where not exists (select from imported_users i where i.user_id = r.user_id)
order by r.user_id
on conflict (user_id) do nothing
returning user_id
