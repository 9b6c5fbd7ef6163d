-- Batches can be named, paused and cancelled.
ALTER TABLE batches ADD COLUMN name text UNIQUE;
ALTER TABLE batches ADD COLUMN input_digest text;          -- SHA-256 of the accepted inputs, for a name used twice
ALTER TABLE batches ADD COLUMN paused boolean NOT NULL DEFAULT false;
ALTER TABLE jobs ADD COLUMN cancel_asked boolean NOT NULL DEFAULT false;  -- while it runs: its worker stops the call
