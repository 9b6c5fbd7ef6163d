-- What was given back while it was paused is sent again at once, and not as overdue. One that has spent all that it may
-- needs a new cap, and a cap is above what was spent.
WITH resumed AS (
    UPDATE batches
    SET paused = false, pause_reason = NULL, max_cost_usd = coalesce(%(max_cost_usd)s::numeric(20, 9), max_cost_usd)
    WHERE id = %(id)s AND finished_at IS NULL
      AND (pause_reason IS DISTINCT FROM 'max-cost' OR %(max_cost_usd)s::numeric > max_cost_usd)
      AND (%(max_cost_usd)s::numeric IS NULL OR %(max_cost_usd)s::numeric > coalesce(cost_usd, 0))
    RETURNING id
), waiting AS (
    -- Whoever claims a job holds it and waits for the batch, which is held here: waited for, neither would ever go on.
    SELECT jobs.id FROM jobs JOIN resumed ON jobs.batch_id = resumed.id
    WHERE jobs.state = 'queued' AND jobs.sent_at IS NOT NULL AND jobs.losses = 0  -- see unsend.sql
    FOR UPDATE OF jobs SKIP LOCKED
), unsent AS (
    UPDATE jobs SET sent_at = NULL FROM waiting WHERE jobs.id = waiting.id
)
SELECT id FROM resumed
