DELETE FROM providers WHERE NOT id = ANY (%(builtin)s)
