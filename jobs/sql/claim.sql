-- Takes queued jobs for one worker: each gets a new fence, and only the holder of that fence may settle it. A message is
-- a hint: it names jobs, or a batch whose next jobs are wanted, whichever those are by now; and other single jobs that wait
-- for the same providers may come along, so that their own messages find nothing.
-- Suspects, jobs that a process died with, are taken only by who asks for them.
--
-- A claim does not wait for the disk: the intent before a call does, and flushes the claim with it. One that Postgres
-- forgets in a crash, or in a failover, was for nothing: fences are times, so that nobody else has got the same.
WITH unflushed AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', true)
), named AS (
    SELECT j.id, b.reuse_s FROM jobs j LEFT JOIN batches b ON b.id = j.batch_id
    WHERE j.id = ANY (%(ids)s) AND j.state = 'queued' AND j.not_before <= now() AND b.paused IS NOT TRUE
      AND (j.losses = 0 OR %(suspects)s)
    ORDER BY j.id
    FOR UPDATE OF j SKIP LOCKED
), along AS (
    -- Each provider's by themselves, and BETWEEN for an equals sign: so that order is the index', jobs_single, and no plan
    -- reads and sorts 50,000 that wait for the sake of 250, or walks through all jobs in the order of their ids.
    SELECT w.id, NULL::float8 AS reuse_s
    FROM unnest(%(providers)s::text[], %(along)s::int[]) AS p (provider_id, jobs) CROSS JOIN LATERAL (
        SELECT j.id FROM jobs j
        WHERE j.provider_id BETWEEN p.provider_id AND p.provider_id
          AND j.state = 'queued' AND j.queue = 'interactive' AND j.not_before <= now() AND j.losses = 0
          AND j.id <> ALL (%(ids)s)  -- as many besides
        ORDER BY j.provider_id, j.id LIMIT p.jobs
        FOR UPDATE OF j SKIP LOCKED
    ) AS w
), next AS (
    SELECT w.id, b.reuse_s FROM unnest(%(batch_ids)s::uuid[], %(batch_jobs)s::int[]) AS n (batch_id, jobs)
    JOIN batches b ON b.id = n.batch_id AND NOT b.paused CROSS JOIN LATERAL (
        SELECT j.id FROM jobs j
        WHERE j.batch_id = n.batch_id AND j.state = 'queued' AND j.sent_at IS NULL AND j.not_before <= now()
        ORDER BY j.seq LIMIT n.jobs
        FOR UPDATE OF j SKIP LOCKED
    ) AS w
), picked AS (
    SELECT * FROM named UNION SELECT * FROM along UNION SELECT * FROM next
), claimed AS (
    UPDATE jobs
    SET state = 'running', worker_id = %(worker_id)s,
        fence = greatest(jobs.fence + 1, (extract(epoch FROM now()) * 1000000)::bigint),
        started_at = coalesce(jobs.started_at, now())
    FROM picked WHERE jobs.id = picked.id
    RETURNING jobs.id, jobs.batch_id, jobs.kind, jobs.provider_id, jobs.model, jobs.queue, jobs.input::text AS input,
              jobs.fence, jobs.attempts, jobs.retries_from, jobs.fallbacks, jobs.fallback_position, jobs.fallback_reason,
              jobs.fail_fast, coalesce(jobs.reuse_s, picked.reuse_s, 0) AS reuse_s,
              extract(epoch FROM now() - CASE  -- how long it has been tried for; only who was called for is looked up
                  WHEN jobs.queue = 'interactive' THEN jobs.started_at
                  WHEN jobs.attempts > 0 THEN
                      (SELECT min(c.started_at) FROM calls c WHERE c.job_id = jobs.id AND c.started_at >= jobs.started_at)
              END)::float8 AS tried_s
), counted AS (
    SELECT batch_id, count(*) AS n FROM claimed WHERE batch_id IS NOT NULL GROUP BY batch_id
), held AS (
    SELECT batches.id, counted.n FROM batches JOIN counted ON batches.id = counted.batch_id
    ORDER BY batches.id FOR UPDATE OF batches
), moved AS (
    UPDATE batches SET running = batches.running + held.n FROM held WHERE batches.id = held.id
)
SELECT claimed.* FROM claimed, unflushed
