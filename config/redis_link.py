"""Redis connections with bounded waits, and the one place where its errors become ours."""

import time
from collections.abc import Callable, Iterator
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

_REPEATED = Retry(NoBackoff(), 1)
_REPEATED_IF_CUT = Retry(NoBackoff(), 1, (redis.ConnectionError,))


def connect_redis(url: str, timeout_s: float = TIMEOUT_S) -> redis.Redis:
    """A client that gives up after two seconds and one repeat, where redis-py's own default waits over a minute.

    It may be used by any number of threads; redis-py's own default refuses the hundred and first.
    """
    return _pooled(url, _options(timeout_s, _REPEATED))


def connect_impatient(url: str) -> redis.Redis:
    """The same for a producer, whose caller waits: two seconds, and a repeat only if the connection was cut."""
    return _pooled(url, _options(TIMEOUT_S, _REPEATED_IF_CUT))


def connect_listener(url: str) -> redis.Redis:
    """A client for subscriptions, which hold their connections: with none left it refuses at once."""
    return redis.Redis.from_url(url, max_connections=LISTENERS, **_options(TIMEOUT_S, _REPEATED_IF_CUT))


def _pooled(url: str, options: dict[str, Any]) -> redis.Redis:
    waits = {"max_connections": CONNECTIONS, "timeout": options["socket_timeout"]}
    return redis.Redis.from_pool(redis.BlockingConnectionPool.from_url(url, **waits, **options))


def _options(timeout_s: float, retry: Retry) -> dict[str, Any]:
    return {
        "decode_responses": True,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "socket_keepalive": True,
        "retry": retry,
        "client_name": "ticketflow",
    }


NO_ANSWER = "no answer in time"

_REASONS: tuple[tuple[type[redis.RedisError], str], ...] = (
    (redis.AuthenticationError, "the password was not accepted"),
    (redis.ConnectionError, "connection refused or cut"),
    (redis.TimeoutError, NO_ANSWER),
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


class Patience:
    """Spares a program a Redis that hangs: when one has waited in vain, nobody asks it for a while.

    Kept: until when. Lifetime: ``pause_s`` after the last wait in vain. Who comes meanwhile gets the error at once.

    Args:
        url: Redis' URL, for messages.
        pause_s: how long it is left alone.
        clock: monotonic seconds.
    """

    def __init__(self, url: str, pause_s: float = TIMEOUT_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._url, self._pause_s, self._clock = url, pause_s, clock
        self._until = float("-inf")

    @contextmanager
    def errors(self) -> Iterator[None]:
        """As ``redis_errors``, also for those that are translated already."""
        if self._clock() < self._until:
            raise ServiceUnavailableError("Redis", address_of(self._url), f"{NO_ANSWER} a moment ago")
        try:
            with redis_errors(self._url):
                yield
        except ServiceUnavailableError as error:
            if error.service == "Redis" and error.reason == NO_ANSWER:
                self._until = self._clock() + self._pause_s
            raise


def reason_of(error: BaseException) -> str:
    """What is wrong with Redis, in words; its own texts stay out."""
    by_text = (words for text, words in _TEXTS.items() if str(error).startswith(text))
    by_class = (words for kind, words in _REASONS if isinstance(error, kind))
    return tls_trouble(error) or next(by_text, next(by_class, type(error).__name__))
