-- One sweeper at a time, for the length of its transaction; and its statements are planned for what they are given: with a
-- limit that is not known, or no queue named, a plan for anything reads whole tables.
SELECT pg_try_advisory_xact_lock(%(key)s) AS held, set_config('plan_cache_mode', 'auto', true)
