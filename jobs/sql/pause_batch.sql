-- No job of it begins any more; those that were sent wait to be sent again.
WITH paused AS (
    UPDATE batches SET paused = true WHERE id = %(id)s AND finished_at IS NULL RETURNING id
), waiting AS (
    -- Whoever claims a job holds it and waits for the batch, which is held here: waited for, neither would ever go on.
    SELECT jobs.id FROM jobs JOIN paused ON jobs.batch_id = paused.id
    WHERE jobs.state = 'queued' AND jobs.sent_at IS NOT NULL AND jobs.losses = 0  -- see unsend.sql
    FOR UPDATE OF jobs SKIP LOCKED
), unsent AS (
    UPDATE jobs SET sent_at = NULL FROM waiting WHERE jobs.id = waiting.id
)
SELECT id FROM paused
