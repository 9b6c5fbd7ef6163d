-- What calls cost, and the most that a batch may. To a billionth of a dollar, so that sums are exact.
ALTER TABLE calls ADD COLUMN cost_usd numeric(20, 9);      -- in flight the most it can cost; null where no price was known
ALTER TABLE batches ADD COLUMN cost_usd numeric(20, 9);    -- of the calls that its jobs' attempts count; null as above
ALTER TABLE batches ADD COLUMN max_cost_usd numeric(20, 9);
ALTER TABLE batches ADD COLUMN pause_reason text CHECK (pause_reason IN ('max-cost', 'no-price'));  -- null: a person's

-- Calls are added in the order of their time: an index of a few pages that costs writes next to nothing.
CREATE INDEX calls_started ON calls USING brin (started_at) WITH (pages_per_range = 32, autosummarize = on);

-- What is left of the caps. A batch's cost counts the calls of jobs that nobody has in hand; those of jobs in hand are
-- added here, in flight with the most that they can cost. MATERIALIZED, so that jobs in hand are found by their index
-- and not through all jobs of the batch.
CREATE VIEW budgets AS
WITH in_hand AS MATERIALIZED (
    SELECT id, batch_id, attempts FROM jobs WHERE worker_id IS NOT NULL AND finished_at IS NULL
), under_way AS (
    SELECT j.batch_id, sum(c.cost_usd) AS usd, sum(c.cost_usd) FILTER (WHERE c.finished_at IS NOT NULL) AS ended_usd
    FROM in_hand j JOIN calls c ON c.job_id = j.id AND c.attempt > j.attempts
    GROUP BY j.batch_id
)
SELECT b.id AS batch_id, b.paused,
       b.max_cost_usd - coalesce(b.cost_usd, 0) - coalesce(u.usd, 0) AS room_usd,             -- now
       b.max_cost_usd - coalesce(b.cost_usd, 0) - coalesce(u.ended_usd, 0) AS most_room_usd  -- if all in flight is free
FROM batches b LEFT JOIN under_way u ON u.batch_id = b.id
WHERE b.max_cost_usd IS NOT NULL;
