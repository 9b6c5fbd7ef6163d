-- Ended jobs are queued again, with a new budget of attempts; their batches are open again. What was paid stays counted.
-- What succeeded is really done anew, and taken from no other job. What a newer revision superseded is left alone.
WITH ended AS (
    SELECT id, batch_id, state, reused_from FROM jobs
    WHERE id = ANY (%(ids)s) AND state IN ('succeeded', 'failed', 'cancelled') AND superseded_by IS NULL
    ORDER BY id FOR UPDATE
), again AS (
    UPDATE jobs
    SET state = 'queued', result = NULL, error_type = NULL, error_message = NULL, answered_by = NULL,
        provider_generation = NULL, key_version = NULL, answered_model = NULL, started_at = NULL, finished_at = NULL,
        worker_id = NULL, retries_from = jobs.attempts, losses = 0, not_before = '-infinity', cancel_asked = false,
        content_key = NULL, reused_from = NULL, fallback_position = 0, fallback_reason = NULL,
        reuse_s = CASE WHEN ended.state = 'succeeded' THEN 0 ELSE jobs.reuse_s END,
        sent_at = CASE WHEN jobs.batch_id IS NULL THEN now() END
    FROM ended WHERE jobs.id = ended.id
    RETURNING jobs.id, jobs.batch_id, jobs.provider_id, jobs.queue
), counted AS (
    SELECT batch_id,
           count(*) FILTER (WHERE state = 'succeeded') AS succeeded,
           count(*) FILTER (WHERE state = 'failed') AS failed,
           count(*) FILTER (WHERE state = 'cancelled') AS cancelled,
           count(reused_from) AS reused
    FROM ended WHERE batch_id IS NOT NULL GROUP BY batch_id
), held AS (
    SELECT b.id FROM batches b JOIN counted c ON b.id = c.batch_id ORDER BY b.id FOR UPDATE OF b
), moved AS (
    UPDATE batches b
    SET succeeded = b.succeeded - c.succeeded, failed = b.failed - c.failed, cancelled = b.cancelled - c.cancelled,
        reused = b.reused - c.reused, finished_at = NULL
    FROM counted c JOIN held h ON h.id = c.batch_id WHERE b.id = c.batch_id
)
SELECT id, batch_id, provider_id, queue FROM again
