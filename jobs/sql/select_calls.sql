SELECT attempt, provider_id, provider_generation, key_version, model, outcome, status, input_tokens, output_tokens,
       cost_usd, started_at, finished_at,
       round(extract(epoch FROM started_at - lag(finished_at) OVER (ORDER BY attempt)) * 1000)::int AS wait_ms
FROM calls WHERE job_id = %(job_id)s ORDER BY attempt
