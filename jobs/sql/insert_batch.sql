INSERT INTO batches (id, kind, provider_id, model) VALUES (%(id)s, %(kind)s, %(provider_id)s, %(model)s)
