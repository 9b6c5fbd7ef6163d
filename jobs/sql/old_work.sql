-- How much purge_batch and purge_singles would remove.
WITH old AS (
    SELECT now() - make_interval(secs => %(age_s)s) AS until
), whole AS (
    SELECT b.total FROM batches b, old
    WHERE b.finished_at < old.until
      AND CASE WHEN b.failed > 0 THEN 'failed' WHEN b.cancelled > 0 THEN 'cancelled' ELSE 'succeeded' END = ANY (%(states)s)
)
SELECT (SELECT count(*) FROM whole) AS batches,
       (SELECT coalesce(sum(total), 0) FROM whole) + (
           SELECT count(*) FROM jobs, old
           WHERE batch_id IS NULL AND state = ANY (%(states)s) AND finished_at < old.until AND id < %(before)s
       ) AS jobs
