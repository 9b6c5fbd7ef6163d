-- How many jobs of batches were put back and will be run again by themselves, counted up to a limit.
SELECT count(*) AS jobs FROM (
    SELECT FROM jobs
    WHERE state = 'queued' AND sent_at IS NOT NULL AND queue = 'bulk'
      AND (SELECT b.paused FROM batches b WHERE b.id = jobs.batch_id) IS NOT TRUE
    LIMIT %(limit)s
) AS waiting
