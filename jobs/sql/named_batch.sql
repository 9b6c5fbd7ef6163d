SELECT id, input_digest FROM batches WHERE name = %(name)s
