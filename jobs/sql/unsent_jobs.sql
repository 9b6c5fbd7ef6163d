-- How many jobs of a batch wait for somebody to take them, counted up to a limit, and which provider they are for; nothing
-- while it is paused.
SELECT b.provider_id, (
    SELECT count(*) FROM (
        SELECT FROM jobs j
        WHERE j.batch_id = b.id AND j.state = 'queued' AND j.sent_at IS NULL AND j.not_before <= now()
        LIMIT %(limit)s
    ) AS waiting
) AS jobs
FROM batches b WHERE b.id = %(batch_id)s AND NOT b.paused
