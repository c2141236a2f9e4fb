-- The claim of a code, guessed right. No row: it was ended meanwhile.
-- $1 user_id, $2 purpose, $3 id, $4 consumption id
update generic_tokens t set consumed_at = clock_timestamp(), consumption_id = $4
where t.user_id = $1 and t.purpose = $2 and t.id = $3 and {claimable}
returning {generic}
