-- Jobs of batches whose message was declined: whoever asks for the next jobs of their batch takes them. Suspects are not taken
-- so; they are sent again as overdue.
UPDATE jobs SET sent_at = NULL
WHERE id = ANY (%(ids)s) AND state = 'queued' AND batch_id IS NOT NULL AND losses = 0
