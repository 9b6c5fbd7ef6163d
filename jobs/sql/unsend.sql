-- Bulk jobs whose message was declined: their batch sends them again when it is its turn.
UPDATE jobs SET sent_at = NULL
WHERE id = ANY (%(ids)s) AND state = 'queued' AND batch_id IS NOT NULL
