"""Keeps a process' registry up to date: hears each change, and looks every two seconds in case it did not."""

import contextlib
import logging
import threading
from collections.abc import Callable

import redis

from config.errors import TicketflowError
from config.redis_names import REGISTRY_CHANNEL
from config.registry import Registry

log = logging.getLogger(__name__)

CHECK_S = 2.0


class RegistryWatch:
    """A thread that follows the registry.

    Pub/sub is at most once and reconnects silently, so a message is a hint like any other: each message, each new
    subscription and every two seconds without one lead to the same check, by generation.

    Args:
        registry: this process' view.
        client: Redis; the subscription takes a connection of its own.
        changed: called after each check that brought something newer, in this thread.
    """

    def __init__(self, registry: Registry, client: redis.Redis, changed: Callable[[], None]) -> None:
        self._registry, self._client, self._changed = registry, client, changed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="registry-watch", daemon=True)

    def start(self) -> None:
        """Begins to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Ends within the length of one check."""
        self._stop.set()
        self._thread.join(CHECK_S + 3)

    def _run(self) -> None:
        pubsub = self._client.pubsub()  # type: ignore[no-untyped-call]
        while not self._stop.is_set():
            try:
                if not pubsub.subscribed:
                    pubsub.subscribe(REGISTRY_CHANNEL)
                pubsub.get_message(timeout=CHECK_S)  # a message, a subscription, or two seconds: all mean "look"
            except (redis.RedisError, OSError):
                with contextlib.suppress(redis.RedisError, OSError):
                    pubsub.reset()
                self._stop.wait(CHECK_S / 2)
            self._look()
        with contextlib.suppress(redis.RedisError, OSError):
            pubsub.close()

    def _look(self) -> None:
        before = self._registry.generation
        try:
            self._registry.check()
        except TicketflowError as error:
            log.warning("the registry cannot be read: %s", error)
            return
        if self._registry.generation != before:
            self._changed()
