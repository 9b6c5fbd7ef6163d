INSERT INTO workers (id, lease_until) VALUES (%(worker_id)s, now() + make_interval(secs => %(lease_s)s))
ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until
