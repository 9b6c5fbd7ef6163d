-- Ends calls; and ends jobs, each once: one whose fence has moved on is left as it is. Batches are counted in the same
-- statement, so that it needs no transaction around it, and nobody who stands still within one holds these rows.
WITH ended AS (
    UPDATE calls
    SET finished_at = now(), outcome = e.outcome, status = e.status, input_tokens = e.input_tokens,
        output_tokens = e.output_tokens, cost_usd = e.cost_usd
    FROM unnest(
        %(call_job_ids)b::uuid[], %(call_attempts)b::int[], %(call_outcomes)b::text[], %(call_statuses)b::int[],
        %(call_input_tokens)b::int[], %(call_output_tokens)b::int[], %(call_costs_usd)b::numeric(20, 9)[]
    ) AS e (job_id, attempt, outcome, status, input_tokens, output_tokens, cost_usd)
    WHERE calls.job_id = e.job_id AND calls.attempt = e.attempt AND calls.finished_at IS NULL
), done AS (
    SELECT * FROM unnest(
        %(job_ids)b::uuid[], %(fences)b::bigint[], %(states)b::text[], %(results)b::json[], %(error_types)b::text[],
        %(error_messages)b::text[], %(attempts)b::int[], %(input_tokens)b::int[], %(output_tokens)b::int[],
        %(provider_ids)b::text[], %(generations)b::bigint[], %(key_versions)b::int[], %(models)b::text[],
        %(content_keys)b::uuid[], %(reused_from)b::uuid[], %(costs_usd)b::numeric(20, 9)[], %(fallback_reasons)b::text[]
    ) AS d (job_id, fence, state, result, error_type, error_message, attempts, input_tokens, output_tokens,
            answered_by, provider_generation, key_version, answered_model, content_key, reused_from, cost_usd,
            fallback_reason)
), ours AS (
    SELECT j.id FROM jobs j JOIN done d ON j.id = d.job_id
    WHERE j.state = 'running' AND j.fence = d.fence
    ORDER BY j.id FOR UPDATE OF j
), settled AS (
    UPDATE jobs
    SET state = d.state, result = d.result, error_type = d.error_type, error_message = d.error_message,
        attempts = d.attempts, input_tokens = jobs.input_tokens + d.input_tokens,
        output_tokens = jobs.output_tokens + d.output_tokens,
        answered_by = d.answered_by, provider_generation = d.provider_generation, key_version = d.key_version,
        answered_model = d.answered_model, content_key = d.content_key, reused_from = d.reused_from,
        fallback_reason = d.fallback_reason, finished_at = now()
    FROM done d JOIN ours o ON o.id = d.job_id
    WHERE jobs.id = d.job_id
    RETURNING jobs.id, jobs.batch_id, jobs.state, jobs.reused_from, d.input_tokens, d.output_tokens, d.cost_usd
), counted AS (
    SELECT batch_id, count(*) AS n,
           count(*) FILTER (WHERE state = 'succeeded') AS succeeded,
           count(*) FILTER (WHERE state = 'failed') AS failed,
           count(*) FILTER (WHERE state = 'cancelled') AS cancelled,
           count(reused_from) AS reused,
           sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens, sum(cost_usd) AS cost_usd
    FROM settled WHERE batch_id IS NOT NULL GROUP BY batch_id
), held AS (
    SELECT b.id FROM batches b JOIN counted c ON b.id = c.batch_id ORDER BY b.id FOR UPDATE OF b
), moved AS (
    UPDATE batches b
    SET running = b.running - c.n, succeeded = b.succeeded + c.succeeded, failed = b.failed + c.failed,
        cancelled = b.cancelled + c.cancelled, reused = b.reused + c.reused,
        input_tokens = b.input_tokens + c.input_tokens,
        output_tokens = b.output_tokens + c.output_tokens,
        cost_usd = coalesce(b.cost_usd + c.cost_usd, b.cost_usd, c.cost_usd),
        finished_at = CASE WHEN b.succeeded + b.failed + b.cancelled + c.n >= b.total THEN now() END
    FROM counted c JOIN held h ON h.id = c.batch_id WHERE b.id = c.batch_id
)
SELECT id, batch_id IS NULL AS single FROM settled
