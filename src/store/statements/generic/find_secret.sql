-- The newest token of a secret value, or the one that was claimed under a consumption id.
-- $1 digests that the value may be kept as, $2 purpose, $3 user_id (null: anyone's), $4 consumption id (null: none)
select {generic} from generic_tokens t
where t.digest = any ($1) and not t.is_code and t.purpose = $2 and ($3::text is null or t.user_id = $3)
order by coalesce(t.consumption_id = $4::text, false) desc, t.id desc limit 1
