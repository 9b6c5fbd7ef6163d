SELECT id, custom_id, batch_id, kind, provider_id, coalesce(answered_model, model) AS model, state, result,
       error_type, error_message, input_tokens, output_tokens, answered_by, provider_generation, key_version, attempts,
       reused_from, revision, stale, superseded_by, fallbacks, fallback_reason,
       nullif(not_before, '-infinity') AS not_before, created_at, started_at, finished_at
FROM jobs WHERE id = %(id)s
