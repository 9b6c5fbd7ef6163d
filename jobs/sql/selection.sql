-- Jobs by what may be asked for; an argument that is null asks for nothing. Used as the inner part of other statements.
SELECT id, custom_id, batch_id, kind, provider_id, coalesce(answered_model, model) AS model, state, result,
       error_type, error_message, input_tokens, output_tokens, answered_by, provider_generation, key_version, attempts,
       reused_from, revision, stale, superseded_by, fallbacks, fallback_reason,
       nullif(not_before, '-infinity') AS not_before, created_at, started_at, finished_at
FROM jobs
WHERE (%(provider_id)s::text IS NULL OR coalesce(answered_by, provider_id) = %(provider_id)s)
  AND (%(first_generation)s::bigint IS NULL OR provider_generation >= %(first_generation)s)
  AND (%(last_generation)s::bigint IS NULL OR provider_generation <= %(last_generation)s)
  AND (%(states)s::text[] IS NULL OR state = ANY (%(states)s))
  AND (%(error_type)s::text IS NULL OR error_type = %(error_type)s)
  AND (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (%(batch_id)s::uuid IS NULL OR batch_id = %(batch_id)s)
  AND (%(job_ids)s::uuid[] IS NULL OR id = ANY (%(job_ids)s))
  AND (%(before_id)s::uuid IS NULL OR id < %(before_id)s)
