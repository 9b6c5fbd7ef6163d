-- Jobs that a worker process has, by the process. The condition is on purpose not that of any other statement: for an index
-- WHERE state = 'running', statements that name hundreds of jobs were planned as a walk through all that run, and through
-- all that ever did since the last vacuum, once a vacuum had found none running.
CREATE INDEX jobs_in_hand ON jobs (worker_id) WHERE worker_id IS NOT NULL AND finished_at IS NULL;
DROP INDEX jobs_running;
