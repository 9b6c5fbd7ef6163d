SELECT id, definition, generation FROM providers WHERE id = %(id)s
