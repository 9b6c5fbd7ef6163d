"""How work gets done: the Celery app and its one task, the runtime of a process, client cache, adapters, retry."""
