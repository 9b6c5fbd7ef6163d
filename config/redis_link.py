"""Redis connections with bounded waits, and the one place where its errors become ours."""

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from config.errors import ServiceUnavailableError
from config.settings import address_of

TIMEOUT_S = 2.0


def connect_redis(url: str, timeout_s: float = TIMEOUT_S) -> redis.Redis:
    """A client that gives up after two seconds and one repeat, where redis-py's own default waits over a minute."""
    return redis.Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 1),
        client_name="ticketflow",
    )


_REASONS: tuple[tuple[type[redis.RedisError], str], ...] = (
    (redis.AuthenticationError, "the password was not accepted"),
    (redis.ConnectionError, "connection refused or cut"),
    (redis.TimeoutError, "no answer in time"),
    (redis.OutOfMemoryError, "it is at its memory limit (maxmemory) and takes nothing more"),
    (redis.ReadOnlyError, "it is a replica, which takes no writes"),
)
"""The first that fits; the password's error is one of connections, too."""

_DISK = "it cannot write to its disk, and takes nothing more"


@contextmanager
def redis_errors(url: str) -> Iterator[None]:
    """Turns every redis-py error inside the block into ServiceUnavailableError."""
    try:
        yield
    except redis.RedisError as error:
        raise ServiceUnavailableError("Redis", address_of(url), reason_of(error)) from None


def reason_of(error: BaseException) -> str:
    """What is wrong with Redis, in words; its own texts stay out."""
    if str(error).startswith("MISCONF"):
        return _DISK
    return next((words for kind, words in _REASONS if isinstance(error, kind)), type(error).__name__)
