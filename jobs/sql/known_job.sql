-- The job that has the key, or else the revision, and whether what is asked now is what was asked then.
SELECT id, superseded_by, idempotency_key IS NOT DISTINCT FROM %(idempotency_key)s AS has_key,
       (kind, provider_id, input::text) = (%(kind)s, %(provider_id)s, %(input)s)
       AND (model, supersede_key, revision) IS NOT DISTINCT FROM (%(model)s, %(supersede_key)s, %(revision)s) AS same
FROM jobs
WHERE idempotency_key = %(idempotency_key)s
   OR (kind = %(kind)s AND supersede_key = %(supersede_key)s AND revision = %(revision)s)
ORDER BY idempotency_key IS NOT DISTINCT FROM %(idempotency_key)s DESC
LIMIT 1
