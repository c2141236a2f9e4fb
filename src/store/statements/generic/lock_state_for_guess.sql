-- Puts guesses at the codes of one user and purpose in order, with issues too. No row: never a code.
-- $1 user_id, $2 purpose
select g.attempts, g.window_started, clock_timestamp() as now from generic_state g
where g.user_id = $1 and g.purpose = $2 for no key update
