"""Kombu's Redis transport (5.7.0) without its notes on each message, and without three ways to end a worker.

A message is a hint, so one that cannot be read or cannot be put back is dropped: the ledger sends another.
"""

import logging
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu.transport import redis, virtual

log = logging.getLogger(__name__)


class QoS(virtual.QoS):
    """Messages that were delivered and not yet acknowledged, in memory alone; they go back when the channel closes.

    On a connection that was lost and closed nobody can be told anything; kombu tries, and the worker dies of its
    AttributeError.
    """

    def restore_unacked(self) -> None:
        """Puts all of them back, and drops those that cannot be; kombu would write them to a file."""
        if self._is_lost:
            self._delivered = OrderedDict()
            return
        failed: Any = super().restore_unacked()
        if failed:
            log.warning("%d messages were not put back (%s)", len(failed), type(failed[0][0]).__name__)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Puts one back, or lets go of it."""
        super().reject(delivery_tag, requeue=requeue and not self._is_lost)

    @property
    def _is_lost(self) -> bool:
        connection = self.channel.connection
        return connection is None or connection.client is None


class Channel(redis.Channel):
    """A channel that passes over what is no message, and keeps one client for its commands.

    Kombu makes one for each command, which is a fifth of what sending a message costs. It also writes each message that
    was delivered into Redis and removes it again, for somebody to find long after a crash; the ledger knows sooner
    what was not taken.
    """

    ack_emulation = False
    _kept: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.QoS = QoS  # type: ignore[assignment]  # kombu has put its own there, which the stubs do not know

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """The client for a command; its pool goes, and comes anew, with the channel's connection."""
        if client is None and (self._kept is None or self._kept.connection_pool is not self.pool):
            self._kept = self._create_client()  # type: ignore[attr-defined]  # the stubs do not know it
        yield self._kept if client is None else client

    def _brpop_read(self, **options: Any) -> Any:
        """One message off a queue; what is no message ends the worker of kombu's own channel."""
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]  # the stubs do not know it
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("something in a queue is no message of ours and was dropped: %s", type(error).__name__)
            return True


class Transport(redis.Transport):
    """Redis with such channels."""

    Channel = Channel
