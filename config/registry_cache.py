"""The registry's copy in Redis: replaced by generation, never by an older one."""

from functools import partial

import redis

from config.redis_link import Patience, redis_errors
from config.redis_names import REGISTRY_CHANNEL, REGISTRY_GENERATION, REGISTRY_SNAPSHOT
from config.registry import Snapshot
from config.resources import text_of


class RedisCache:
    """Reads and replaces the snapshot in Redis; every call may raise ServiceUnavailableError.

    Args:
        client: a client that decodes responses.
        url: Redis' URL, for messages.
        patience: leaves a Redis that hangs alone, where a caller waits.
    """

    def __init__(self, client: redis.Redis, url: str, patience: Patience | None = None) -> None:
        self._client = client
        self._errors = patience.errors if patience else partial(redis_errors, url)
        self._publish = client.register_script(text_of("config", "lua/publish_registry.lua"))

    def load(self) -> Snapshot | None:
        """The copy held, or None if there is none that is ours."""
        with self._errors():
            text = self._client.get(REGISTRY_SNAPSHOT)
        try:
            return Snapshot.from_json(str(text)) if text else None
        except (ValueError, TypeError, KeyError):
            return None

    def generation(self) -> int | None:
        """The generation of the copy held, or None."""
        with self._errors():
            text = self._client.get(REGISTRY_GENERATION)
        return int(str(text)) if text and str(text).isdecimal() else None

    def publish(self, snapshot: Snapshot) -> None:
        """Replaces the copy, unless a newer one is held, and tells every process."""
        with self._errors():
            self._publish(
                keys=[REGISTRY_SNAPSHOT, REGISTRY_GENERATION],
                args=[snapshot.generation, snapshot.to_json(), REGISTRY_CHANNEL],
            )
