-- Jobs of worker processes whose lease ran out, and those that their live worker says it does not have. Of a dead
-- process' jobs those are to blame that most processes have died with before: a job that kills comes to be alone among
-- them, and the others are put back without another mark.
--
-- Leases are judged once renewals, whosever they are, have come without a gap for as long as ``patience_s`` (renew_lease.sql):
-- when Postgres was away or frozen, every lease has run out at its return, and every live worker must have had the time to
-- renew it.
WITH judge AS (
    SELECT %(patience_s)s::float8 = 0 OR EXISTS (
        SELECT 1 FROM workers WHERE id = %(worker_id)s
        AND steady_since < now() - make_interval(secs => %(patience_s)s)
        AND renewed_at > now() - make_interval(secs => %(patience_s)s)) AS may
), gone AS (
    SELECT j.id, j.fence, j.provider_id, j.queue, j.worker_id, j.losses, w.lease_until >= now() IS NOT TRUE AS died
    FROM jobs j LEFT JOIN workers w ON w.id = j.worker_id
    WHERE j.worker_id IS NOT NULL AND j.finished_at IS NULL
      AND (((w.id IS NULL OR w.lease_until < now()) AND (SELECT may FROM judge))
           OR (j.worker_id = %(worker_id)s AND (j.id, j.fence) IN (
               SELECT * FROM unnest(%(orphan_ids)s::uuid[], %(orphan_fences)s::bigint[]))))
    ORDER BY j.id LIMIT %(limit)s FOR UPDATE OF j SKIP LOCKED
), judged AS (
    SELECT id, fence, provider_id, queue,
           losses + (died AND losses = max(losses) OVER (PARTITION BY worker_id))::int AS losses
    FROM gone
), counted AS (
    UPDATE jobs SET losses = judged.losses FROM judged WHERE jobs.id = judged.id
)
SELECT id, fence, losses, provider_id, queue FROM judged
