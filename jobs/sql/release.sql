-- Puts claimed jobs back: to be run again at once, or after a wait; the fence keeps out a claim that was lost. One that
-- was to be cancelled ends here, and so does one of an older revision.
WITH given AS (
    SELECT * FROM unnest(
        %(job_ids)s::uuid[], %(fences)s::bigint[], %(attempts)s::int[], %(waits_s)s::float8[],
        %(input_tokens)s::int[], %(output_tokens)s::int[], %(costs_usd)s::numeric(20, 9)[], %(retries_from)s::int[],
        %(fallback_positions)s::smallint[], %(fallback_reasons)s::text[]
    ) AS g (job_id, fence, attempts, wait_s, input_tokens, output_tokens, cost_usd, retries_from, fallback_position,
            fallback_reason)
), ours AS (
    SELECT j.id, j.cancel_asked OR j.stale AS ends FROM jobs j JOIN given g ON j.id = g.job_id
    WHERE j.state = 'running' AND j.fence = g.fence
    ORDER BY j.id FOR UPDATE OF j
), freed AS (
    UPDATE jobs
    SET state = CASE WHEN o.ends THEN 'cancelled' ELSE 'queued' END, finished_at = CASE WHEN o.ends THEN now() END,
        error_type = CASE WHEN jobs.stale THEN 'NewerRevisionError' END,
        error_message = CASE WHEN jobs.stale THEN 'a newer revision was accepted: job ' || jobs.superseded_by END,
        worker_id = NULL, attempts = g.attempts, sent_at = now(),
        input_tokens = jobs.input_tokens + g.input_tokens, output_tokens = jobs.output_tokens + g.output_tokens,
        retries_from = coalesce(g.retries_from, jobs.retries_from),
        fallback_position = coalesce(g.fallback_position, jobs.fallback_position),
        fallback_reason = coalesce(g.fallback_reason, jobs.fallback_reason),
        not_before = CASE WHEN g.wait_s > 0 THEN now() + make_interval(secs => g.wait_s) ELSE '-infinity' END
    FROM given g JOIN ours o ON o.id = g.job_id
    WHERE jobs.id = g.job_id
    RETURNING jobs.id, jobs.batch_id, jobs.state, g.input_tokens, g.output_tokens, g.cost_usd
), counted AS (
    SELECT batch_id, count(*) AS n, count(*) FILTER (WHERE state = 'cancelled') AS cancelled,
           sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
           sum(cost_usd) AS cost_usd
    FROM freed WHERE batch_id IS NOT NULL GROUP BY batch_id
), held AS (
    SELECT b.id FROM batches b JOIN counted c ON b.id = c.batch_id ORDER BY b.id FOR UPDATE OF b
), moved AS (
    UPDATE batches b
    SET running = b.running - c.n, cancelled = b.cancelled + c.cancelled,
        finished_at = CASE WHEN b.succeeded + b.failed + b.cancelled + c.cancelled >= b.total THEN now() END,
        input_tokens = b.input_tokens + c.input_tokens,
        output_tokens = b.output_tokens + c.output_tokens,
        cost_usd = coalesce(b.cost_usd + c.cost_usd, b.cost_usd, c.cost_usd)
    FROM counted c JOIN held h ON h.id = c.batch_id WHERE b.id = c.batch_id
)
SELECT id FROM freed
