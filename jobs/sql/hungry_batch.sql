-- The oldest batch that may go on and has jobs which wait for somebody to take them; not one that was asked already.
SELECT b.id FROM batches b
WHERE b.finished_at IS NULL AND NOT b.paused AND b.id IS DISTINCT FROM %(but)s::uuid
  AND EXISTS (
      SELECT 1 FROM jobs j
      WHERE j.batch_id = b.id AND j.state = 'queued' AND j.sent_at IS NULL AND j.not_before <= now())
ORDER BY b.created_at
LIMIT 1
