-- What a new key may be in the way of: a live key of 40 digits, and one of the same public name. Runs under the lock of
-- the user's row, so it still holds when the key is written.
-- $1 user_id, $2 prefix
select exists (select from auth_tokens t where t.user_id = $1 and t.is_drf and {valid}),
       exists (select from auth_tokens t where t.user_id = $1 and t.prefix = $2)
