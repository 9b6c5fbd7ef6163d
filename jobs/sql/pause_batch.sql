-- No job of it begins any more; those that were sent wait to be sent again.
WITH paused AS (
    UPDATE batches SET paused = true WHERE id = %(id)s AND finished_at IS NULL RETURNING id
), unsent AS (
    UPDATE jobs SET sent_at = NULL FROM paused
    WHERE jobs.batch_id = paused.id AND jobs.state = 'queued' AND jobs.sent_at IS NOT NULL
)
SELECT id FROM paused
