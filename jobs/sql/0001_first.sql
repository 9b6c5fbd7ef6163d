-- The ledger and the registry. Times are Postgres' own; durations are computed from them.

CREATE TABLE registry (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    generation bigint NOT NULL DEFAULT 1
);
INSERT INTO registry DEFAULT VALUES;

CREATE TABLE providers (
    id text PRIMARY KEY,
    definition jsonb NOT NULL,            -- for a built-in only the fields that are overridden
    generation bigint NOT NULL,           -- of the last change to this row
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- One row a worker process. Its lease covers every job that it has claimed: one small update renews them all.
CREATE TABLE workers (
    id text PRIMARY KEY,
    started_at timestamptz NOT NULL DEFAULT now(),
    lease_until timestamptz NOT NULL
);

CREATE TABLE batches (
    id uuid PRIMARY KEY,
    kind text NOT NULL,
    provider_id text NOT NULL,
    model text,
    total integer NOT NULL DEFAULT 0,
    running integer NOT NULL DEFAULT 0,   -- kept by the statements that move jobs, so that status is one row
    succeeded integer NOT NULL DEFAULT 0,
    failed integer NOT NULL DEFAULT 0,
    cancelled integer NOT NULL DEFAULT 0,
    input_tokens bigint NOT NULL DEFAULT 0,
    output_tokens bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
CREATE INDEX batches_unfinished ON batches (created_at) WHERE finished_at IS NULL;

CREATE TABLE jobs (
    id uuid PRIMARY KEY,
    batch_id uuid REFERENCES batches (id) ON DELETE CASCADE,
    seq integer,                          -- place in the batch's input, from 0
    custom_id text,
    kind text NOT NULL,
    provider_id text NOT NULL,
    model text,                           -- as asked for; null takes the provider's default
    queue text NOT NULL,
    input json NOT NULL,                  -- json, not jsonb: kept as given, and U+0000 is no error
    state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    sent_at timestamptz,                  -- when the last hint was sent; null while it waits its turn in the batch
    not_before timestamptz NOT NULL DEFAULT '-infinity',
    worker_id text,
    fence bigint NOT NULL DEFAULT 0,      -- goes up with each claim; only the newest claim may settle
    attempts integer NOT NULL DEFAULT 0,  -- calls made
    losses integer NOT NULL DEFAULT 0,    -- worker processes that died with it
    result json,
    error_type text,
    error_message text,
    input_tokens integer NOT NULL DEFAULT 0,
    output_tokens integer NOT NULL DEFAULT 0,
    answered_by text,                     -- the provider, its generation, key version and model of the last call
    provider_generation bigint,
    key_version integer,
    answered_model text,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz
);
CREATE UNIQUE INDEX jobs_of_batch ON jobs (batch_id, seq) WHERE batch_id IS NOT NULL;
CREATE INDEX jobs_unsent ON jobs (batch_id, seq) WHERE state = 'queued' AND sent_at IS NULL;
CREATE INDEX jobs_sent ON jobs (sent_at) WHERE state = 'queued' AND sent_at IS NOT NULL;
CREATE INDEX jobs_running ON jobs (worker_id) WHERE state = 'running';

-- One row a call to a provider: written before it is sent, completed after.
CREATE TABLE calls (
    job_id uuid NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt integer NOT NULL,
    provider_id text NOT NULL,
    provider_generation bigint NOT NULL,
    key_version integer,
    model text NOT NULL,
    worker_id text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    outcome text,                         -- succeeded, an error's name, or lost; null while in flight
    status integer,
    input_tokens integer NOT NULL DEFAULT 0,
    output_tokens integer NOT NULL DEFAULT 0,
    PRIMARY KEY (job_id, attempt)
);
