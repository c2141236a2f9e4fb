-- One import at a time. Ends with the transaction, so that a pooler in transaction mode is no obstacle.
select pg_try_advisory_xact_lock(7310577382525465449)
