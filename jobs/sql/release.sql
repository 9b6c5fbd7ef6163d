-- Puts claimed jobs back: to be run again at once, or after a wait; the fence keeps out a claim that was lost.
WITH given AS (
    SELECT * FROM unnest(%(job_ids)s::uuid[], %(fences)s::bigint[], %(attempts)s::int[], %(waits_s)s::float8[])
        AS g (job_id, fence, attempts, wait_s)
), ours AS (
    SELECT j.id FROM jobs j JOIN given g ON j.id = g.job_id
    WHERE j.state = 'running' AND j.fence = g.fence
    ORDER BY j.id FOR UPDATE OF j
), freed AS (
    UPDATE jobs
    SET state = 'queued', worker_id = NULL, attempts = g.attempts, sent_at = now(),
        not_before = CASE WHEN g.wait_s > 0 THEN now() + make_interval(secs => g.wait_s) ELSE '-infinity' END
    FROM given g JOIN ours o ON o.id = g.job_id
    WHERE jobs.id = g.job_id
    RETURNING jobs.id, jobs.batch_id
), counted AS (
    SELECT batch_id, count(*) AS n FROM freed WHERE batch_id IS NOT NULL GROUP BY batch_id
), held AS (
    SELECT b.id FROM batches b JOIN counted c ON b.id = c.batch_id ORDER BY b.id FOR UPDATE OF b
), moved AS (
    UPDATE batches b SET running = b.running - c.n
    FROM counted c JOIN held h ON h.id = c.batch_id WHERE b.id = c.batch_id
)
SELECT id FROM freed
