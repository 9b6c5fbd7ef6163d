-- Asks the workers that run jobs of a batch, or one job, to stop; what they put back meanwhile ends as well.
WITH asked AS (
    UPDATE jobs SET cancel_asked = true
    WHERE (batch_id = %(batch_id)s OR id = %(job_id)s) AND state = 'running'
    RETURNING id
)
SELECT count(*) AS n FROM asked
