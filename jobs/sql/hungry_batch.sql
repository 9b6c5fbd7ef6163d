-- The oldest batch that may go on and has jobs which nobody has sent.
SELECT b.id FROM batches b
WHERE b.finished_at IS NULL AND NOT b.paused
  AND EXISTS (SELECT 1 FROM jobs j WHERE j.batch_id = b.id AND j.state = 'queued' AND j.sent_at IS NULL)
ORDER BY b.created_at
LIMIT 1
