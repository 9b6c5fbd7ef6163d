-- One sweeper at a time, for the length of its transaction.
SELECT pg_try_advisory_xact_lock(%(key)s) AS held
