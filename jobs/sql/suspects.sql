-- Those of the jobs that could be taken, and that a worker process has died with.
SELECT id, losses FROM jobs WHERE id = ANY (%(ids)s) AND state = 'queued' AND losses > 0 AND not_before <= now()
