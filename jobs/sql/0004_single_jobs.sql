-- A claim for one single job may take others of its provider along: this finds them, oldest first.
CREATE INDEX jobs_single ON jobs (provider_id, id) WHERE state = 'queued' AND queue = 'interactive';
