-- What was given back while it was paused is sent again at once, and not as overdue.
WITH resumed AS (
    UPDATE batches SET paused = false WHERE id = %(id)s AND finished_at IS NULL RETURNING id
), unsent AS (
    UPDATE jobs SET sent_at = NULL FROM resumed
    WHERE jobs.batch_id = resumed.id AND jobs.state = 'queued' AND jobs.sent_at IS NOT NULL
)
SELECT id FROM resumed
