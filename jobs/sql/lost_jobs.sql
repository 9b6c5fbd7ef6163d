-- Jobs of worker processes whose lease ran out, with the calls that each had in flight marked as lost.
WITH gone AS (
    SELECT j.id, j.fence, j.losses, j.provider_id FROM jobs j LEFT JOIN workers w ON w.id = j.worker_id
    WHERE j.state = 'running' AND (w.id IS NULL OR w.lease_until < now())
    ORDER BY j.id LIMIT %(limit)s FOR UPDATE OF j SKIP LOCKED
), counted AS (
    UPDATE jobs SET losses = jobs.losses + 1 FROM gone WHERE jobs.id = gone.id
), lost AS (
    UPDATE calls SET outcome = 'lost', finished_at = now() FROM gone
    WHERE calls.job_id = gone.id AND calls.finished_at IS NULL
)
SELECT gone.id, gone.fence, gone.losses + 1 AS losses, gone.provider_id,
       (SELECT count(*) FROM calls c WHERE c.job_id = gone.id) AS attempts
FROM gone
