-- The key of a provider was set; a built-in that nobody changed gets a row that overrides nothing.
INSERT INTO providers (id, definition, generation, key_generation) VALUES (%(id)s, '{}', 0, %(generation)s)
ON CONFLICT (id) DO UPDATE SET key_generation = excluded.key_generation
