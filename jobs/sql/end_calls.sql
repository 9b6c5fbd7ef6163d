UPDATE calls
SET finished_at = now(), outcome = d.outcome, status = d.status, input_tokens = d.input_tokens,
    output_tokens = d.output_tokens, cost_usd = d.cost_usd
FROM unnest(
    %(job_ids)b::uuid[], %(attempts)b::int[], %(outcomes)b::text[], %(statuses)b::int[],
    %(input_tokens)b::int[], %(output_tokens)b::int[], %(costs_usd)b::numeric(20, 9)[]
) AS d (job_id, attempt, outcome, status, input_tokens, output_tokens, cost_usd)
WHERE calls.job_id = d.job_id AND calls.attempt = d.attempt AND calls.finished_at IS NULL
