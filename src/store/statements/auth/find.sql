-- Whose is this key, and may it be used? Only what an answer needs: its prefix is known from the key.
-- $1 digest
select {presented} from auth_tokens t join users u on u.user_id = t.user_id where t.digest = $1
