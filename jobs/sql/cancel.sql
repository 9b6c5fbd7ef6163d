-- Ends jobs of a batch, or one job: those that nobody runs at once; the workers of the others are asked to stop them, and what
-- they put back meanwhile ends as well. One statement, since a job may go from one state to the other at any time: each is
-- judged by what it is when its row is ours.
WITH picked AS (
    SELECT id FROM jobs
    WHERE (batch_id = %(batch_id)s OR id = %(job_id)s) AND state IN ('queued', 'running')
    ORDER BY id FOR UPDATE
), stopped AS (
    UPDATE jobs
    SET state = CASE jobs.state WHEN 'queued' THEN 'cancelled' ELSE jobs.state END,
        finished_at = CASE jobs.state WHEN 'queued' THEN now() END,
        cancel_asked = jobs.state = 'running'
    FROM picked WHERE jobs.id = picked.id
    RETURNING jobs.id, jobs.batch_id, jobs.state
), counted AS (
    SELECT batch_id, count(*) AS n FROM stopped WHERE batch_id IS NOT NULL AND state = 'cancelled' GROUP BY batch_id
), held AS (
    SELECT b.id FROM batches b JOIN counted c ON b.id = c.batch_id ORDER BY b.id FOR UPDATE OF b
), moved AS (
    UPDATE batches b
    SET cancelled = b.cancelled + c.n,
        finished_at = CASE WHEN b.succeeded + b.failed + b.cancelled + c.n >= b.total THEN now() END
    FROM counted c JOIN held h ON h.id = c.batch_id WHERE b.id = c.batch_id
)
SELECT count(*) FILTER (WHERE state = 'cancelled') AS ended, count(*) FILTER (WHERE state = 'running') AS asked FROM stopped
