-- Jobs whose hint was sent long enough ago to have been taken, and was not: the broker lost it, or their wait is over.
WITH picked AS (
    SELECT id FROM jobs
    WHERE state = 'queued' AND sent_at < now() - make_interval(secs => %(age_s)s) AND not_before <= now()
      AND queue = ANY (%(queues)s)
      AND (queue <> 'interactive' OR losses > 0 OR provider_id <> ALL (%(full)s::text[]))
      AND (SELECT b.paused FROM batches b WHERE b.id = jobs.batch_id) IS NOT TRUE  -- no join: the oldest by the index
    ORDER BY sent_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), marked AS (
    UPDATE jobs SET sent_at = now() FROM picked WHERE jobs.id = picked.id
    RETURNING jobs.id, jobs.provider_id, jobs.queue
)
SELECT id, provider_id, queue FROM marked ORDER BY queue, provider_id, id
