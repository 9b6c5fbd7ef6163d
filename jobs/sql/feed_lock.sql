-- A batch is fed by one process at a time; held to the end of the transaction. Two at once would pick the same jobs, and the
-- second, which then sees that they are taken, locks them for a moment all the same: whoever is to run them would pass
-- over them, and their message would be spent.
SELECT pg_advisory_xact_lock(hashtextextended('feed:' || %(batch_id)s::text, 0))
