SELECT attempt, provider_id, provider_generation, key_version, model, outcome, status, input_tokens, output_tokens,
       cost_usd, started_at, finished_at
FROM calls WHERE job_id = %(job_id)s ORDER BY attempt
