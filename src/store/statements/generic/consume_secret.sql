-- The claim of a secret: exactly one caller gets the row back. The newest token of the value is meant, but a winner's
-- retry means the one that it won: it must not claim a later one of the same value.
-- $1 digests that the value may be kept as, $2 purpose, $3 user_id (null: anyone's), $4 consumption id
update generic_tokens t set consumed_at = clock_timestamp(), consumption_id = $4
where (t.user_id, t.purpose, t.id) = (
    select c.user_id, c.purpose, c.id from generic_tokens c
    where c.digest = any ($1) and not c.is_code and c.purpose = $2 and ($3::text is null or c.user_id = $3)
    order by coalesce(c.consumption_id = $4, false) desc, c.id desc limit 1)
  and {unspent}
returning {generic}
