-- The one counter of registry changes; the row lock makes writers take turns. It passes whatever was seen in Redis:
-- after Postgres was restored from a backup, the copies that are held elsewhere must look old.
UPDATE registry SET generation = greatest(generation, %(seen)s) + 1 RETURNING generation
