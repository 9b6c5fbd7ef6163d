-- The batch's input is all in: its size is known. An empty one is finished at once.
UPDATE batches
SET total = %(total)s, input_digest = %(digest)s, finished_at = CASE WHEN %(total)s = 0 THEN now() END
WHERE id = %(id)s
