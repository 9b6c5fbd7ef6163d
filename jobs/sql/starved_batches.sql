-- Batches that wait with nothing sent and nothing running: whoever should have sent the next hints died before it did.
SELECT b.id FROM batches b
WHERE b.finished_at IS NULL AND b.running = 0 AND NOT b.paused
  AND EXISTS (
      SELECT 1 FROM jobs j
      WHERE j.batch_id = b.id AND j.state = 'queued' AND j.sent_at IS NULL AND j.not_before <= now())
  AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.batch_id = b.id AND j.state = 'queued' AND j.sent_at IS NOT NULL)
ORDER BY b.created_at
LIMIT 100
