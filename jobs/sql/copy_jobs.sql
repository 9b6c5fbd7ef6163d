COPY jobs (id, batch_id, seq, custom_id, kind, provider_id, model, queue, input, fallbacks) FROM STDIN (FORMAT binary)
