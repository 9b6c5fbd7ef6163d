-- Says that a worker process lives; steady since the last time that it was late to say so.
INSERT INTO workers (id, lease_until) VALUES (%(worker_id)s, now() + make_interval(secs => %(lease_s)s))
ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until, renewed_at = now(),
    steady_since = CASE WHEN workers.renewed_at < now() - make_interval(secs => %(lease_s)s / 2) THEN now()
                        ELSE workers.steady_since END
