DELETE FROM workers w WHERE w.lease_until < now() - interval '1 minute'
AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.worker_id = w.id AND j.finished_at IS NULL)
