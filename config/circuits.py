"""Circuits of providers as they are shown; worker processes alone open and close them, see ``worker.circuit``."""

import json
from collections.abc import Iterable
from typing import Literal

import redis

from config.redis_link import redis_errors
from config.redis_names import PROVIDER_CIRCUIT

CircuitState = Literal["closed", "open", "half-open"]


class CircuitBoard:
    """Reads circuits; every call may raise ServiceUnavailableError.

    Args:
        client: a client that decodes responses.
        url: Redis' URL, for messages.
    """

    def __init__(self, client: redis.Redis, url: str) -> None:
        self._client, self._url = client, url

    def states(self, generations: Iterable[tuple[str, int]]) -> dict[str, CircuitState]:
        """How the circuits are now, by provider id.

        ``open``: the provider is left alone; ``half-open``: the next call tries it.

        Args:
            generations: provider ids with the generations of their definitions; a changed provider begins anew.
        """
        asked = list(generations)
        with redis_errors(self._url):
            seconds, microseconds = self._client.time()
            texts = self._client.mget([PROVIDER_CIRCUIT.format(id=key) for key, _ in asked]) if asked else []
        now_ms = int(seconds) * 1000 + int(microseconds) // 1000
        return {key: _state(text, generation, now_ms) for (key, generation), text in zip(asked, texts, strict=True)}


def _state(text: object, generation: int, now_ms: int) -> CircuitState:
    """An entry of another version is passed over: this is for show."""
    try:
        kept = json.loads(str(text)) if text else {}
        until_ms = kept.get("until_ms") if kept.get("generation") == generation else None
        if until_ms is None:
            return "closed"
        return "open" if float(until_ms) > now_ms else "half-open"
    except (ValueError, TypeError, AttributeError):
        return "closed"
