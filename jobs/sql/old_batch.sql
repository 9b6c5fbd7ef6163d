-- The next batch that ended long ago, by its id. It is held, so that of several that look at once each finds another; its
-- state is what views.py makes of the counters.
SELECT id, total FROM batches
WHERE id > %(after)s AND finished_at < now() - make_interval(secs => %(age_s)s)
  AND CASE WHEN failed > 0 THEN 'failed' WHEN cancelled > 0 THEN 'cancelled' ELSE 'succeeded' END = ANY (%(states)s)
ORDER BY id LIMIT 1
FOR UPDATE SKIP LOCKED
