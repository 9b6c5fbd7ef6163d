-- The batch itself, once all of its jobs are gone.
DELETE FROM batches b WHERE b.id = %(id)s AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.batch_id = b.id)
RETURNING id
