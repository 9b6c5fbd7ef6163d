-- All stored providers with the registry's generation; one row with a null id when none is stored.
SELECT r.generation AS registry_generation, p.id, p.definition, p.generation, p.key_generation
FROM registry r LEFT JOIN providers p ON true
ORDER BY p.id
