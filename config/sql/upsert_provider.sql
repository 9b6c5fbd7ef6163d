INSERT INTO providers (id, definition, generation) VALUES (%(id)s, %(definition)s, %(generation)s)
ON CONFLICT (id) DO UPDATE
SET definition = excluded.definition, generation = excluded.generation, updated_at = now()
