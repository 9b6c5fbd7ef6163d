-- How many jobs of batches run or wait to be run again, the latter counted up to a limit (with single jobs among them).
SELECT (SELECT coalesce(sum(running), 0) FROM batches WHERE finished_at IS NULL)
     + (SELECT count(*) FROM (SELECT FROM jobs WHERE state = 'queued' AND sent_at IS NOT NULL LIMIT %(limit)s) AS sent) AS jobs
