-- Intents for jobs of capped batches, which hold_capped_batches has locked: a call begins if the most that it can cost
-- is free. If it would not be free even when all calls in flight turned out to cost nothing, the batch pauses.
WITH wanted AS (
    SELECT * FROM unnest(
        %(job_ids)s::uuid[], %(fences)s::bigint[], %(attempts)s::int[], %(provider_ids)s::text[],
        %(generations)s::bigint[], %(key_versions)s::int[], %(models)s::text[], %(costs_usd)s::numeric(20, 9)[]
    ) WITH ORDINALITY AS w (job_id, fence, attempt, provider_id, provider_generation, key_version, model, cost_usd, place)
), ours AS (
    SELECT w.*, j.batch_id, c.job_id IS NOT NULL AS known, c.finished_at IS NOT NULL OR c.worker_id <> %(worker_id)s AS ended
    FROM wanted w JOIN jobs j ON j.id = w.job_id AND j.fence = w.fence AND j.state = 'running'
    LEFT JOIN calls c ON c.job_id = w.job_id AND c.attempt = w.attempt
), weighed AS (
    SELECT o.*, CASE
        WHEN o.ended THEN 'lost'
        WHEN o.known THEN 'begun'  -- and paid for, by this statement before its answer was lost
        WHEN o.cost_usd IS NULL THEN 'no-price'
        WHEN o.cost_usd > b.most_room_usd THEN 'max-cost'
        WHEN sum(o.cost_usd) FILTER (WHERE NOT o.known) OVER (PARTITION BY o.batch_id ORDER BY o.place) <= b.room_usd
            THEN 'begun'
        ELSE 'wait' END AS verdict
    FROM ours o JOIN budgets b ON b.batch_id = o.batch_id
), begun AS (
    INSERT INTO calls (job_id, attempt, provider_id, provider_generation, key_version, model, worker_id, cost_usd)
    SELECT job_id, attempt, provider_id, provider_generation, key_version, model, %(worker_id)s, cost_usd
    FROM weighed WHERE verdict = 'begun' AND NOT known
), paused AS (
    UPDATE batches b SET paused = true, pause_reason = w.verdict
    FROM (SELECT DISTINCT ON (batch_id) batch_id, verdict FROM weighed
          WHERE verdict IN ('no-price', 'max-cost') ORDER BY batch_id, place) w
    WHERE b.id = w.batch_id
)
SELECT job_id, attempt, CASE WHEN verdict IN ('no-price', 'max-cost') THEN 'paused' ELSE verdict END AS verdict
FROM weighed
