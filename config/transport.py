"""Kombu's Redis transport without three ways to end a worker, all met by the chaos tests (kombu 5.7.0).

A message is a hint, so one that cannot be read or cannot be put back is dropped: the ledger sends another.
"""

import logging
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu.transport import redis

log = logging.getLogger(__name__)


class QoS(redis.QoS):
    """Messages that were delivered and not yet acknowledged.

    On a connection that was lost and closed nobody can be told anything; kombu tries, and the worker dies of its
    AttributeError.
    """

    def restore_unacked(self, client: Any = None) -> Any:
        """Puts all of them back, when the channel is closed."""
        if self._is_lost:
            self._delivered = OrderedDict()
            return None
        return super().restore_unacked(client)

    def ack(self, delivery_tag: str) -> None:
        """Lets go of one."""
        if not self._is_lost:
            super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Puts one back, or lets go of it."""
        if not self._is_lost:
            super().reject(delivery_tag, requeue=requeue)

    @property
    def _is_lost(self) -> bool:
        connection = self.channel.connection
        return connection is None or connection.client is None


class Channel(redis.Channel):
    """A channel that passes over what is no message, and keeps one client for its commands.

    Kombu makes one for each command, which is a fifth of what sending a message costs.
    """

    QoS = QoS
    _kept: Any = None

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
