-- Work is done once: keys of producers that ask again, results that serve again, revisions that replace older ones.
-- Ids of other jobs are no foreign keys: what is removed later leaves its trace.
ALTER TABLE jobs ADD COLUMN idempotency_key text;
ALTER TABLE jobs ADD COLUMN supersede_key text;
ALTER TABLE jobs ADD COLUMN revision bigint;
ALTER TABLE jobs ADD COLUMN superseded_by uuid;            -- the job of a newer revision, as of the first that came
ALTER TABLE jobs ADD COLUMN stale boolean NOT NULL DEFAULT false;  -- it ran when that came
ALTER TABLE jobs ADD COLUMN reuse_s double precision;      -- how old a result may serve; 0 none, null as the batch says
ALTER TABLE jobs ADD COLUMN content_key uuid;              -- digest of what was asked, of those that a model answered
ALTER TABLE jobs ADD COLUMN reused_from uuid;              -- the job whose result this is
ALTER TABLE batches ADD COLUMN reuse_s double precision;
ALTER TABLE batches ADD COLUMN reused integer NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX jobs_idempotency ON jobs (idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE UNIQUE INDEX jobs_revision ON jobs (kind, supersede_key, revision) WHERE supersede_key IS NOT NULL;
CREATE INDEX jobs_content ON jobs (content_key, finished_at) WHERE content_key IS NOT NULL;
