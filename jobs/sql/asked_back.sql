-- Jobs of a worker process that are to be cancelled, and those that should make no further call: their batch is paused,
-- or they are of an older revision.
SELECT j.id, j.fence, j.cancel_asked
FROM jobs j LEFT JOIN batches b ON b.id = j.batch_id
WHERE j.worker_id = %(worker_id)s AND j.finished_at IS NULL AND (j.cancel_asked OR j.stale OR b.paused)
