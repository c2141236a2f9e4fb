-- The codes that a guess can be about: those that still stand, and dead ones of the very same value.
-- Runs under the lock of generic_state. Newest first.
-- $1 user_id, $2 purpose, $3 digests that the value may be kept as
select {generic}, t.digest = any ($3) as matches from generic_tokens t
where t.user_id = $1 and t.purpose = $2 and t.is_code and (t.digest = any ($3) or {unspent})
order by t.id desc
