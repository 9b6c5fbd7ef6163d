-- A name is taken by the first; one that is being taken right now is waited for.
INSERT INTO batches (id, name, kind, provider_id, model, reuse_s, max_cost_usd)
VALUES (%(id)s, %(name)s, %(kind)s, %(provider_id)s, %(model)s, %(reuse_s)s, %(max_cost_usd)s)
ON CONFLICT (name) DO NOTHING
RETURNING id
