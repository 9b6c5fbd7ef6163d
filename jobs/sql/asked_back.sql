-- Jobs of a worker process that are to be cancelled, and those whose batch is paused.
SELECT j.id, j.fence, j.cancel_asked
FROM jobs j LEFT JOIN batches b ON b.id = j.batch_id
WHERE j.worker_id = %(worker_id)s AND j.state = 'running' AND (j.cancel_asked OR b.paused)
