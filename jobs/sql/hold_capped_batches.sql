-- Whoever begins calls of a capped batch holds it to the end of the transaction, so that no two spend the same money.
-- Jobs before batches, as in every statement that needs both.
WITH asked AS MATERIALIZED (
    SELECT batch_id FROM jobs WHERE id = ANY (%(job_ids)s) ORDER BY id FOR KEY SHARE
)
SELECT id FROM batches
WHERE max_cost_usd IS NOT NULL AND id IN (SELECT batch_id FROM asked)
ORDER BY id FOR UPDATE
