-- The first job of a batch, from a place of its input on, that has not ended.
SELECT seq FROM jobs
WHERE batch_id = %(batch_id)s AND seq >= %(from_seq)s AND finished_at IS NULL
ORDER BY seq LIMIT 1
