-- Removes a key of a user; without a prefix those of 40 digits.
-- $1 user_id, $2 prefix (null: not said)
delete from auth_tokens t where t.user_id = $1 and (t.prefix = $2::text or ($2 is null and t.is_drf))
