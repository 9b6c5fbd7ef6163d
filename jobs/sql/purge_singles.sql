-- Looks at the next jobs in the order of their ids, which begin with the time of acceptance, and removes those that are
-- single and ended long ago, with their calls. No index serves this alone: each would cost every job that is settled.
WITH page AS MATERIALIZED (
    SELECT id FROM jobs WHERE id > %(after)s AND id < %(before)s ORDER BY id LIMIT %(limit)s
), picked AS (
    SELECT j.id FROM jobs j JOIN page p ON p.id = j.id
    WHERE j.batch_id IS NULL AND j.state = ANY (%(states)s) AND j.finished_at < now() - make_interval(secs => %(age_s)s)
    FOR UPDATE OF j SKIP LOCKED
), gone AS (
    DELETE FROM jobs USING picked WHERE jobs.id = picked.id RETURNING jobs.id
)
SELECT (SELECT id FROM page ORDER BY id DESC LIMIT 1) AS last_id, (SELECT count(*) FROM gone) AS jobs
