-- The next jobs of a batch whose hints may be sent, in input order.
WITH picked AS (
    SELECT id, seq FROM jobs
    WHERE batch_id = %(batch_id)s AND state = 'queued' AND sent_at IS NULL
      AND NOT EXISTS (SELECT 1 FROM batches b WHERE b.id = %(batch_id)s AND b.paused)
    ORDER BY seq
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), marked AS (
    UPDATE jobs SET sent_at = now() FROM picked WHERE jobs.id = picked.id
    RETURNING jobs.id, jobs.seq, jobs.provider_id
)
SELECT id, provider_id FROM marked ORDER BY seq
