"""Rings when single jobs end, so that whoever waits need not keep asking; how a job ended, the ledger alone says."""

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

import redis

from config.redis_names import JOB_ENDED

log = logging.getLogger(__name__)

EVERY_S = 1.0
"""Whoever waits looks by itself so often: a ring may be lost, and what a sweeper or a command ends does not ring."""

KEPT = 20
"""Connections that nobody listens on at the moment are kept for the next who does, so many of them."""


class Bell:
    """Rings and hears over Redis; with Redis away nothing rings, and whoever waits looks more often.

    Args:
        client: a client that decodes responses.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._kept = deque[redis.client.PubSub]()

    def ring(self, job_ids: Sequence[UUID]) -> None:
        """Tells that jobs have ended; one round trip, and none without jobs."""
        if not job_ids:
            return
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for job_id in job_ids:
                    pipe.publish(JOB_ENDED.format(id=job_id), "1")
                pipe.execute()
        except redis.RedisError as error:
            log.debug("nobody was told that %d jobs have ended: %s", len(job_ids), type(error).__name__)

    @contextmanager
    def listening(self, job_id: str) -> Iterator["Ear | None"]:
        """An ear for one job, which hears all that rings from now on; None with Redis away."""
        channel = self._subscribed(JOB_ENDED.format(id=job_id))
        if channel is None:
            yield None
            return
        ear = Ear(channel)
        try:
            yield ear
        finally:
            if not (ear.hears and self._keep(channel)):
                channel.close()

    def _subscribed(self, name: str) -> redis.client.PubSub | None:
        """A connection that hears one name: one that was kept or, if it is dead and others may be, a new one."""
        try:
            kept = self._kept.pop()
        except IndexError:
            pass
        else:
            if _is_subscribed(kept, name):
                return kept
            kept.close()
            self._kept.clear()
        new: redis.client.PubSub = self._client.pubsub()  # type: ignore[no-untyped-call]
        if _is_subscribed(new, name):
            return new
        new.close()
        return None

    def _keep(self, channel: redis.client.PubSub) -> bool:
        """For the next who waits: to connect takes longer than all the rest. False if it is not worth it."""
        if len(self._kept) >= KEPT:
            return False
        try:
            channel.unsubscribe()  # type: ignore[no-untyped-call]
        except redis.RedisError:
            return False
        self._kept.append(channel)
        return True


class Ear:
    """Waits for a ring; deaf once Redis has gone away, and then ``hears`` is False."""

    def __init__(self, channel: redis.client.PubSub) -> None:
        self._channel, self.hears = channel, True

    def wait(self, timeout_s: float) -> bool:
        """Waits for a ring, at most so long and no longer than ``EVERY_S``; False if nothing can be heard any more."""
        try:
            self._channel.get_message(timeout=min(EVERY_S, timeout_s))
        except redis.RedisError:
            self.hears = False
        return self.hears


def _is_subscribed(channel: redis.client.PubSub, name: str) -> bool:
    """Waits for the confirmation: a ring after it is heard, one before it has left its mark in the ledger."""
    try:
        channel.subscribe(name)
        while message := channel.get_message(timeout=EVERY_S):
            if message["type"] == "subscribe" and message["channel"] == name:
                return True
    except redis.RedisError:
        return False
    return False
