"""Redis connections with bounded waits, and the one place where its errors become ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from config.errors import ServiceUnavailableError
from config.redis_tls import tls_trouble
from config.settings import address_of

TIMEOUT_S = 2.0


CONNECTIONS = 20
"""Of one client: its threads take turns, also the two hundred of a web server; a command takes under a millisecond."""

LISTENERS = 1000
"""Of one client that listens: each thread that waits for a job holds a connection of its own."""


def connect_redis(url: str, timeout_s: float = TIMEOUT_S) -> redis.Redis:
    """A client that gives up after two seconds and one repeat, where redis-py's own default waits over a minute.

    It may be used by any number of threads; redis-py's own default refuses the hundred and first.
    """
    return redis.Redis.from_pool(
        redis.BlockingConnectionPool.from_url(
            url, max_connections=CONNECTIONS, timeout=timeout_s, **_options(timeout_s)
        )
    )


def connect_listener(url: str) -> redis.Redis:
    """A client for subscriptions, which hold their connections: with none left it refuses at once."""
    return redis.Redis.from_url(url, max_connections=LISTENERS, **_options(TIMEOUT_S))


def _options(timeout_s: float) -> dict[str, Any]:
    return {
        "decode_responses": True,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 1),
        "client_name": "ticketflow",
    }


_REASONS: tuple[tuple[type[redis.RedisError], str], ...] = (
    (redis.AuthenticationError, "the password was not accepted"),
    (redis.ConnectionError, "connection refused or cut"),
    (redis.TimeoutError, "no answer in time"),
    (redis.OutOfMemoryError, "it is at its memory limit (maxmemory) and takes nothing more"),
    (redis.ReadOnlyError, "it is a replica, which takes no writes"),
)
"""The first that fits: the password's error is one of connections, too."""

_TEXTS = {
    "MISCONF": "it cannot write to its disk, and takes nothing more",
    "No connection available": "none of this process' connections was free in time",
}
"""Errors that have no class of their own, by the beginning of their text."""


@contextmanager
def redis_errors(url: str) -> Iterator[None]:
    """Turns every redis-py error inside the block into ServiceUnavailableError."""
    try:
        yield
    except redis.RedisError as error:
        raise ServiceUnavailableError("Redis", address_of(url), reason_of(error)) from None


def reason_of(error: BaseException) -> str:
    """What is wrong with Redis, in words; its own texts stay out."""
    by_text = (words for text, words in _TEXTS.items() if str(error).startswith(text))
    by_class = (words for kind, words in _REASONS if isinstance(error, kind))
    return tls_trouble(error) or next(by_text, next(by_class, type(error).__name__))
