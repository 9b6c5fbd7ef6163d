-- A key that was set is a change of the registry like any other: the generation in which it was last set.
ALTER TABLE providers ADD COLUMN key_generation bigint NOT NULL DEFAULT 0;
-- Calls made before the job was last asked to run: its budget of attempts counts from there.
ALTER TABLE jobs ADD COLUMN retries_from integer NOT NULL DEFAULT 0;
-- For `jobs list` and `jobs rerun`: what ended without a result is looked for more often than what succeeded.
CREATE INDEX jobs_failed ON jobs (id) WHERE state = 'failed';
