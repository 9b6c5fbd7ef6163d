-- What jobs of a kind have used lately, by provider and over all.
WITH latest AS (
    SELECT id, answered_by, input_tokens, output_tokens FROM jobs
    WHERE kind = %(kind)s AND state = 'succeeded' AND attempts > 0
    ORDER BY id DESC LIMIT 1000
)
SELECT l.answered_by AS provider_id, count(DISTINCT l.id) AS jobs, avg(l.output_tokens)::float8 AS output_tokens,
       avg(extract(epoch FROM c.finished_at - c.started_at))::float8 AS call_s
FROM latest l JOIN calls c ON c.job_id = l.id AND c.outcome = 'succeeded'
GROUP BY ROLLUP (l.answered_by)
