SELECT id, name, kind, provider_id, model, total, running, succeeded, failed, cancelled, reused, input_tokens,
       output_tokens, paused, created_at, finished_at
FROM batches ORDER BY created_at DESC, id DESC LIMIT %(limit)s
