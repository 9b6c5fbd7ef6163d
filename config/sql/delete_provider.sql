DELETE FROM providers WHERE id = %(id)s
