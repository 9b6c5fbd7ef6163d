-- Some jobs of an old batch, with their calls. Nobody is waited for: a job that somebody else holds keeps the batch.
WITH picked AS (
    SELECT id FROM jobs
    WHERE batch_id = %(id)s AND seq >= %(first)s AND seq < %(end)s AND state IN ('succeeded', 'failed', 'cancelled')
    FOR UPDATE SKIP LOCKED
)
DELETE FROM jobs USING picked WHERE jobs.id = picked.id
