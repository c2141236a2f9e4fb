-- A wrong guess is charged to the code. No row: it was ended meanwhile.
-- $1 user_id, $2 purpose, $3 id
update generic_tokens t set attempts = t.attempts + 1
where t.user_id = $1 and t.purpose = $2 and t.id = $3 and {claimable}
