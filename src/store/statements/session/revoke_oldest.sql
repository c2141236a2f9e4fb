-- Ends the oldest live sessions beyond the limit. Second statement of a transaction that holds the user's row.
-- $1 user_id, $2 how many may live
update sessions s set revoked_at = clock_timestamp(), revocation_reason = 6
where s.user_id = $1 and {live} and s.session in (
  select s.session from sessions s where s.user_id = $1 and {live}
  order by s.session_created desc, s.session offset $2)
