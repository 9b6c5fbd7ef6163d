-- Results that may serve instead of a call: for each content the newest, if it is not too old. A job that was served so
-- has no content key itself, so what is found was always paid for.
SELECT w.place, j.id, j.result::text AS result, j.answered_by, j.provider_generation, j.key_version, j.answered_model
FROM unnest(%(content_keys)s::uuid[], %(max_ages_s)s::float8[]) WITH ORDINALITY AS w (content_key, max_age_s, place)
CROSS JOIN LATERAL (
    SELECT * FROM jobs
    WHERE jobs.content_key = w.content_key AND jobs.finished_at >= now() - make_interval(secs => w.max_age_s)
    ORDER BY jobs.finished_at DESC LIMIT 1
) AS j
