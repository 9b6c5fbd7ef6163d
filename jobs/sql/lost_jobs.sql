-- Jobs of worker processes whose lease ran out, and those that their live worker says it does not have; the calls that
-- each had in flight are marked as lost.
WITH gone AS (
    SELECT j.id, j.fence, j.provider_id, j.losses + CASE WHEN w.lease_until >= now() THEN 0 ELSE 1 END AS losses
    FROM jobs j LEFT JOIN workers w ON w.id = j.worker_id
    WHERE j.state = 'running'
      AND (w.id IS NULL OR w.lease_until < now()
           OR (j.worker_id = %(worker_id)s AND (j.id, j.fence) IN (
               SELECT * FROM unnest(%(orphan_ids)s::uuid[], %(orphan_fences)s::bigint[]))))
    ORDER BY j.id LIMIT %(limit)s FOR UPDATE OF j SKIP LOCKED
), counted AS (
    UPDATE jobs SET losses = gone.losses FROM gone WHERE jobs.id = gone.id
), lost AS (
    UPDATE calls SET outcome = 'lost', finished_at = now() FROM gone
    WHERE calls.job_id = gone.id AND calls.finished_at IS NULL
)
SELECT gone.id, gone.fence, gone.losses, gone.provider_id,
       (SELECT count(*) FROM calls c WHERE c.job_id = gone.id) AS attempts
FROM gone
