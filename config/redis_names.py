"""Every name that the system uses in Redis, apart from Celery's own."""

REGISTRY_SNAPSHOT = "ticketflow:registry:snapshot"
"""String: all providers as JSON, see ``config.registry.Snapshot``."""

REGISTRY_GENERATION = "ticketflow:registry:generation"
"""String: the generation of the snapshot, cheap to poll."""

REGISTRY_CHANNEL = "ticketflow:registry:changed"
"""Channel: the generation of each new snapshot."""

WORKERS = "ticketflow:workers"
"""Sorted set: worker ids by the server's time in seconds when they were last seen."""

WORKER = "ticketflow:worker:{id}"
"""String: what one worker process says of itself, as JSON; expires by itself."""

PROVIDER_LIMITS = "ticketflow:limits:{id}"
"""String: what has been used of one provider's limits, as JSON; see ``worker/lua/limits.lua``. Expires by itself."""

JOB_ENDED = "ticketflow:ended:{id}"
"""Channel: a message when a single job has ended, for whoever waits for it."""

WRITE_PROBE = "ticketflow:probe"
"""String that is never there: writing nothing to it tells whether Redis takes writes."""

PROVIDER_CIRCUIT = "ticketflow:circuit:{id}"
"""String: how calls to one provider have ended lately, and whether it is left alone, as JSON; expires by itself. See
``worker/lua/circuit.lua``."""

INTERACTIVE_QUEUE = "interactive"
BULK_QUEUE = "bulk"
QUEUES = (INTERACTIVE_QUEUE, BULK_QUEUE)
"""Lists of Celery: hints to run jobs."""
