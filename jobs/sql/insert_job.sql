INSERT INTO jobs (id, custom_id, kind, provider_id, model, queue, input, sent_at)
VALUES (%(id)s, %(custom_id)s, %(kind)s, %(provider_id)s, %(model)s, %(queue)s, %(input)s, now())
