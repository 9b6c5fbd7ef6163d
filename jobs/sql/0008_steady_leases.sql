-- When a worker process last renewed its lease, and since when it has done so without a gap: who has just come back after
-- an outage of Postgres does not judge the others.
ALTER TABLE workers ADD COLUMN renewed_at timestamptz NOT NULL DEFAULT now();
ALTER TABLE workers ADD COLUMN steady_since timestamptz NOT NULL DEFAULT now();
