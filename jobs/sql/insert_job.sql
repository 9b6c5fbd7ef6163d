-- A key or a revision that is there already is left as it is; one that is being recorded right now is waited for.
INSERT INTO jobs (id, custom_id, kind, provider_id, model, queue, input, sent_at, reuse_s, idempotency_key,
                  supersede_key, revision, fallbacks, fail_fast)
VALUES (%(id)s, %(custom_id)s, %(kind)s, %(provider_id)s, %(model)s, %(queue)s, %(input)s, now(), %(reuse_s)s,
        %(idempotency_key)s, %(supersede_key)s, %(revision)s, %(fallbacks)s, %(fail_fast)s)
ON CONFLICT DO NOTHING
RETURNING id
