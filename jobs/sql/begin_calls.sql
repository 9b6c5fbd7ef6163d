-- The intent, before each paid call; a job whose claim was lost gets no row, and so no call. If the answer to this
-- statement was lost on its way it is sent again: an intent that is still open is ours, as the fence proves. Jobs of
-- capped batches are left to begin_capped_calls.
-- The lock, which the foreign key takes anyhow, has a sweeper that takes the job back at this moment come either before
-- (then the job is not ours) or after (then it counts this call).
WITH wanted AS (
    SELECT * FROM unnest(
        %(job_ids)b::uuid[], %(fences)b::bigint[], %(attempts)b::int[], %(provider_ids)b::text[],
        %(generations)b::bigint[], %(key_versions)b::int[], %(models)b::text[], %(costs_usd)b::numeric(20, 9)[]
    ) AS w (job_id, fence, attempt, provider_id, provider_generation, key_version, model, cost_usd)
), ours AS (
    SELECT w.* FROM wanted w JOIN jobs j ON j.id = w.job_id AND j.fence = w.fence AND j.state = 'running'
    LEFT JOIN batches b ON b.id = j.batch_id
    WHERE b.max_cost_usd IS NULL
    FOR KEY SHARE OF j
)
INSERT INTO calls (job_id, attempt, provider_id, provider_generation, key_version, model, worker_id, cost_usd)
SELECT w.job_id, w.attempt, w.provider_id, w.provider_generation, w.key_version, w.model, %(worker_id)s, w.cost_usd
FROM ours w
ON CONFLICT (job_id, attempt) DO UPDATE SET started_at = now()
WHERE calls.finished_at IS NULL AND calls.worker_id = excluded.worker_id
RETURNING job_id, attempt
