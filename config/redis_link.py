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


@contextmanager
def redis_errors(url: str) -> Iterator[None]:
    """Turns every redis-py error inside the block into ServiceUnavailableError."""
    try:
        yield
    except redis.AuthenticationError:
        raise ServiceUnavailableError("Redis", address_of(url), "the password was not accepted") from None
    except redis.ConnectionError:
        raise ServiceUnavailableError("Redis", address_of(url), "connection refused or cut") from None
    except redis.TimeoutError:
        raise ServiceUnavailableError("Redis", address_of(url), "no answer in time") from None
    except redis.RedisError as error:
        raise ServiceUnavailableError("Redis", address_of(url), type(error).__name__) from None
