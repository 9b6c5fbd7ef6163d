-- Other providers that a job may ask, how many of its providers were given up, and why the first was.
ALTER TABLE jobs ADD COLUMN fallbacks text[];
ALTER TABLE jobs ADD COLUMN fallback_position smallint NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN fallback_reason text;
ALTER TABLE jobs ADD COLUMN fail_fast boolean NOT NULL DEFAULT false;   -- it shall not wait for a provider that is left alone
