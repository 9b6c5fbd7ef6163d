-- Marks the calls that jobs had in flight as lost, and tells what was used under the lost claims: a call that was lost
-- counts with the most that it can have cost. A statement of its own, once the jobs are locked: it sees the intents that
-- came in until then.
WITH lost AS (
    UPDATE calls SET outcome = 'lost', finished_at = now() WHERE job_id = ANY (%(ids)s) AND finished_at IS NULL
)
SELECT j.id, j.attempts + count(c.attempt) AS attempts, coalesce(sum(c.input_tokens), 0) AS input_tokens,
       coalesce(sum(c.output_tokens), 0) AS output_tokens, nullif(sum(c.cost_usd), 0) AS cost_usd
FROM jobs j LEFT JOIN calls c ON c.job_id = j.id AND c.attempt > j.attempts
WHERE j.id = ANY (%(ids)s)
GROUP BY j.id
