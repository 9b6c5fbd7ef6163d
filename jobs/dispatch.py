"""Sends hints: messages that name jobs of one provider. The ledger is the truth; a hint that is lost is sent again."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from celery import Celery
from kombu.exceptions import OperationalError

from config.broker import RUN_JOBS
from config.errors import ServiceUnavailableError
from config.redis_link import reason_of
from config.redis_names import BULK_QUEUE
from config.settings import Settings, address_of
from jobs.hints import Hint, NextJobs
from jobs.ledger import Ledger

SHOWN = 1000
"""Characters of a message's arguments that Flower shows. They are given, and nothing is declared (a queue of Redis is
there with its first message), since Celery takes a fifth of what sending costs to find that out for each message."""


class Dispatcher:
    """Puts hints into the broker; safe to use from any thread.

    Args:
        app: the Celery application.
        ledger: where a batch's next jobs are taken from.
        settings: sizes, and Redis' address for messages.
    """

    def __init__(self, app: Celery, ledger: Ledger, settings: Settings) -> None:
        self._app, self._ledger, self._settings = app, ledger, settings

    def send(self, hint: Hint) -> None:
        """Sends one message.

        Raises:
            ServiceUnavailableError: the broker is away or full; the jobs stay queued and a sweeper sends them later.
        """
        try:
            args = _arguments(hint)
            said: dict[str, Any] = {"argsrepr": repr(args)[:SHOWN], "kwargsrepr": "{}", "declare": []}
            self._app.send_task(RUN_JOBS, args=args, queue=hint.queue, **said)
        except (OperationalError, OSError) as error:
            reason = reason_of(error.__cause__ or error)
            raise ServiceUnavailableError("Redis", address_of(self._settings.redis_url), reason) from None

    def feed(self, batch_id: UUID, jobs: int) -> int:
        """Asks for the next ``jobs`` jobs of a batch, a message a slice, and returns how many there are of them.

        What a message asks for is decided when it is taken, so nothing is noted here: of two who ask for the same jobs
        one gets others or none, and a message that is lost has taken nothing with it.
        """
        provider_id, waiting = self._ledger.unsent_jobs(batch_id, jobs)
        for sent in range(0, waiting, self._settings.slice_jobs):
            wanted = NextJobs(batch_id, min(self._settings.slice_jobs, waiting - sent))
            self.send(Hint(provider_id, BULK_QUEUE, next_jobs=wanted))
        return waiting

    def start_batch(self, batch_id: UUID) -> int:
        """Sends a batch's first hints: a share for each worker process that lives; each slice that ends sends more."""
        processes = max(1, len(self._ledger.leased_workers()))
        return self.feed(batch_id, self._settings.share_jobs * processes)

    def top_up(self, room: int) -> int:
        """Asks for jobs of the oldest batch that has some to send, and returns for how many.

        To be called when no message waits in the broker: where a process has room for many jobs all the same, messages
        that asked for them were lost. What waits to be tried again has its place.

        Args:
            room: jobs of batches that this process could take.
        """
        hungry = self._ledger.hungry_batch() if self._is_much(room) else None
        more = room - self._ledger.put_back(room) if hungry else 0
        return self.feed(hungry, more) if hungry and self._is_much(more) else 0

    def _is_much(self, jobs: int) -> bool:
        return jobs > self._settings.share_jobs // 2

    def feed_on(self, batch_id: UUID, jobs: int) -> None:
        """Lets as many jobs in as have ended: of their own batch or, when it has no more, of the oldest that has."""
        left = jobs - self.feed(batch_id, jobs)
        if left > 0:
            self.feed_any(left, but=batch_id)

    def feed_any(self, jobs: int | None = None, *, but: UUID | None = None) -> int:
        """Lets jobs in of the oldest batch that has some to send; a process' share, when it comes to work.

        Args:
            jobs: how many at most.
            but: a batch that was asked already.
        """
        hungry = self._ledger.hungry_batch(but)
        return self.feed(hungry, self._settings.share_jobs if jobs is None else jobs) if hungry else 0

    def send_all(self, hints: Sequence[Hint]) -> None:
        """Sends several messages."""
        for hint in hints:
            self.send(hint)

    def close(self) -> None:
        """Closes the broker connections; harmless when repeated."""
        self._app.close()


def _arguments(hint: Hint) -> list[Any]:
    """Of the task ``RUN_JOBS``."""
    named = [hint.provider_id, [str(job_id) for job_id in hint.job_ids]]
    return [*named, str(hint.next_jobs.batch_id), hint.next_jobs.jobs] if hint.next_jobs else named
