SELECT id, name, kind, provider_id, model, total, running, succeeded, failed, cancelled, reused, input_tokens,
       output_tokens, cost_usd, max_cost_usd, paused, pause_reason, created_at, finished_at
FROM batches ORDER BY created_at DESC, id DESC LIMIT %(limit)s
