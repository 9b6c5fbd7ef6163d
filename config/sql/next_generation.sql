-- The one counter of registry changes; the row lock makes writers take turns.
UPDATE registry SET generation = generation + 1 RETURNING generation
