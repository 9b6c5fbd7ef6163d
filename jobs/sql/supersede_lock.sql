-- Revisions of one thing are accepted one after the other; held to the end of the transaction.
SELECT pg_advisory_xact_lock(hashtextextended(%(kind)s || ':' || %(supersede_key)s, 0))
