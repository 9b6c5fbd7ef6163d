-- Ends jobs that nobody runs: of a batch, or by id.
WITH picked AS (
    SELECT id FROM jobs
    WHERE (batch_id = %(batch_id)s OR id = %(job_id)s) AND state = 'queued'
    ORDER BY id FOR UPDATE
), ended AS (
    UPDATE jobs SET state = 'cancelled', finished_at = now() FROM picked WHERE jobs.id = picked.id
    RETURNING jobs.id, jobs.batch_id
), counted AS (
    SELECT batch_id, count(*) AS n FROM ended WHERE batch_id IS NOT NULL GROUP BY batch_id
), held AS (
    SELECT b.id FROM batches b JOIN counted c ON b.id = c.batch_id ORDER BY b.id FOR UPDATE OF b
), moved AS (
    UPDATE batches b
    SET cancelled = b.cancelled + c.n,
        finished_at = CASE WHEN b.succeeded + b.failed + b.cancelled + c.n >= b.total THEN now() END
    FROM counted c JOIN held h ON h.id = c.batch_id WHERE b.id = c.batch_id
)
SELECT count(*) AS n FROM ended
