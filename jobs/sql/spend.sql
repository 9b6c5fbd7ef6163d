-- Calls since a moment, by what is asked for and by what became of those that cost something and were made again. A job's
-- `attempts` are counted when it is out of hand, so what a running job repeats shows once it has ended.
WITH made AS (
    SELECT CASE %(by)s
               WHEN 'provider' THEN c.provider_id
               WHEN 'model' THEN c.model
               WHEN 'kind' THEN j.kind
               WHEN 'batch' THEN coalesce(b.name, b.id::text)
               WHEN 'day' THEN to_char(c.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')
           END AS key,
           CASE WHEN c.attempt < j.attempts AND c.cost_usd IS DISTINCT FROM 0 THEN c.outcome END AS repeated,
           c.input_tokens, c.output_tokens, c.cost_usd
    FROM calls c JOIN jobs j ON j.id = c.job_id LEFT JOIN batches b ON b.id = j.batch_id
    WHERE c.started_at >= %(since)s
)
SELECT key, repeated AS outcome, count(*) AS calls, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
       sum(cost_usd) AS cost_usd, count(*) FILTER (WHERE cost_usd IS NULL) AS unpriced_calls
FROM made
GROUP BY key, repeated
ORDER BY key, repeated
