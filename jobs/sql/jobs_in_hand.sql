-- What the ledger thinks a worker process has; compared with what it really has.
SELECT id, fence FROM jobs WHERE worker_id = %(worker_id)s AND finished_at IS NULL
