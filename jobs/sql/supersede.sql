-- All revisions but the newest are superseded: what waits ends here, what runs is stale, what has ended stays as it is.
-- One that is claimed, released or rerun at this moment is waited for, and judged by what it is then.
WITH newest AS (
    SELECT id, revision FROM jobs
    WHERE kind = %(kind)s AND supersede_key = %(supersede_key)s
    ORDER BY revision DESC LIMIT 1
)
UPDATE jobs
SET superseded_by = newest.id,
    stale = jobs.state = 'running',
    state = CASE WHEN jobs.state = 'queued' THEN 'cancelled' ELSE jobs.state END,
    finished_at = CASE WHEN jobs.state = 'queued' THEN now() ELSE jobs.finished_at END,
    error_type = CASE WHEN jobs.state = 'queued' THEN 'NewerRevisionError' ELSE jobs.error_type END,
    error_message = CASE WHEN jobs.state = 'queued' THEN 'a newer revision was accepted: job ' || newest.id
                         ELSE jobs.error_message END
FROM newest
WHERE jobs.kind = %(kind)s AND jobs.supersede_key = %(supersede_key)s AND jobs.revision < newest.revision
  AND jobs.superseded_by IS NULL
RETURNING jobs.id, jobs.superseded_by
