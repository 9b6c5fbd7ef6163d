-- Jobs of worker processes whose lease ran out, and those that their live worker says it does not have; the calls that
-- each had in flight are marked as lost. What was used under the lost claim is counted: a call that was lost with the
-- most that it can have cost.
WITH gone AS (
    SELECT j.id, j.fence, j.provider_id, j.attempts, j.losses + CASE WHEN w.lease_until >= now() THEN 0 ELSE 1 END AS losses
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
SELECT gone.id, gone.fence, gone.losses, gone.provider_id, used.*
FROM gone CROSS JOIN LATERAL (
    SELECT gone.attempts + count(*) AS attempts, coalesce(sum(c.input_tokens), 0) AS input_tokens,
           coalesce(sum(c.output_tokens), 0) AS output_tokens, nullif(sum(c.cost_usd), 0) AS cost_usd
    FROM calls c WHERE c.job_id = gone.id AND c.attempt > gone.attempts
) used
