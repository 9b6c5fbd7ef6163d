"""Mends what crashes leave behind: jobs of dead workers, hints that the broker lost, batches that nobody feeds."""

import logging
from collections.abc import Mapping, Sequence
from uuid import UUID

import redis

from config.redis_link import redis_errors
from config.redis_names import BULK_QUEUE, INTERACTIVE_QUEUE, QUEUES
from config.settings import Settings
from jobs.dispatch import Dispatcher
from jobs.hints import Hint
from jobs.work import WorkLedger

log = logging.getLogger(__name__)

OVERDUE_S = 5.0
RESEND_LIMIT = 5000


class Sweeper:
    """One round after another, in every worker process; statements take their rows with locks, so rounds may overlap.

    A hint counts as lost when it is five seconds old, its job is still queued, and its queue in the broker is empty:
    while the queue is not empty the message may simply be waiting there, and a second one would only be noise. One for
    a provider that has its share of the places here would be let go again; who has places for it sends it.

    Args:
        ledger: what to mend.
        dispatcher: sends hints anew.
        client: Redis, for the length of the queues.
        settings: limits.
    """

    def __init__(self, ledger: WorkLedger, dispatcher: Dispatcher, client: redis.Redis, settings: Settings) -> None:
        self._ledger, self._dispatcher, self._client, self._settings = ledger, dispatcher, client, settings
        self._missing: dict[UUID, int] = {}
        self.mended = dict.fromkeys(("put_back", "given_up", "sent_again", "batches_started"), 0)
        """What it has done since it started, by the names of ``config.presence.Presence``."""

    def sweep(self, in_hand: Mapping[UUID, int], room: int, full: Sequence[str] = ()) -> set[str]:
        """One round; returns the providers whose single jobs have waited too long for somebody to take them.

        Args:
            in_hand: the jobs that this process has, with their fences.
            room: jobs of batches that it could take besides.
            full: providers for whose single jobs it has no place.

        Raises:
            ServiceUnavailableError: Postgres or Redis is away; the next round does what this one could not.
        """
        settings = self._settings
        back, failed = self._ledger.mend_lost(
            settings.max_losses,
            self._orphans(in_hand),
            patience_s=settings.lease_s / 2,
            group=settings.slice_jobs,
        )
        self.mended["put_back"] += _jobs(back)
        self.mended["given_up"] += failed
        if back or failed:
            log.warning("jobs that no worker had in hand: %d put back, %d failed", _jobs(back), failed)
        self._dispatcher.send_all(back)
        empty = [name for name in QUEUES if self._length(name) == 0]
        hints = self._ledger.take_overdue(OVERDUE_S, empty, RESEND_LIMIT, settings.slice_jobs, full)
        self._dispatcher.send_all(hints)
        if hints:
            self.mended["sent_again"] += _jobs(hints)
            log.warning("sent again: %d jobs in %d messages", _jobs(hints), len(hints))
        if BULK_QUEUE in empty:
            self._feed(room)
        return {hint.provider_id for hint in hints if hint.queue == INTERACTIVE_QUEUE}

    def _feed(self, room: int) -> None:
        """Asks for jobs of batches whose messages were lost, all of them or some."""
        started = [batch_id for batch_id in self._ledger.starved_batches() if self._dispatcher.start_batch(batch_id)]
        for batch_id in started:
            self.mended["batches_started"] += 1
            log.warning("batch %s had nobody to feed it: started again", batch_id)
        more = 0 if started else self._dispatcher.top_up(room)
        if more:
            self.mended["sent_again"] += more
            log.warning("sent again: messages that ask for %d jobs of a batch", more)

    def _orphans(self, in_hand: Mapping[UUID, int]) -> dict[UUID, int]:
        """Jobs that the ledger gave to this process and that it does not have, in this round and the one before.

        The answer to a claim was lost on its way, or Postgres lost a settlement in a failover. One round alone may see
        a claim that is just coming in, or a settlement that is just going out.
        """
        missing = {job_id: fence for job_id, fence in self._ledger.in_hand().items() if in_hand.get(job_id) != fence}
        orphans = {job_id: fence for job_id, fence in missing.items() if self._missing.get(job_id) == fence}
        self._missing = missing
        return orphans

    def _length(self, queue: str) -> int:
        with redis_errors(self._settings.redis_url):
            return int(self._client.llen(queue))


def _jobs(hints: Sequence[Hint]) -> int:
    return sum(len(hint.job_ids) for hint in hints)
