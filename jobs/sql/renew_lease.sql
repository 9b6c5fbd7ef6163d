-- Says that a worker process lives, and since when Postgres has been there without a gap: as long as some process, this one
-- or another, of those that died meanwhile too, said so within each half of a lease.
INSERT INTO workers (id, lease_until, steady_since)
SELECT %(worker_id)s, now() + make_interval(secs => %(lease_s)s), coalesce(min(steady_since), now())
FROM workers WHERE renewed_at > now() - make_interval(secs => %(lease_s)s / 2)
ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until, renewed_at = now(), steady_since = excluded.steady_since
