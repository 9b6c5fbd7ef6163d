"""Sends hints: messages that name jobs of one provider. The ledger is the truth; a hint that is lost is sent again."""

from collections.abc import Sequence
from uuid import UUID

from celery import Celery
from kombu.exceptions import OperationalError

from config.broker import RUN_JOBS
from config.errors import ServiceUnavailableError
from config.redis_link import reason_of
from config.redis_names import BULK_QUEUE
from config.settings import Settings, address_of
from jobs.ledger import Ledger
from jobs.records import Hint


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
            self._app.send_task(
                RUN_JOBS, args=[hint.provider_id, [str(job_id) for job_id in hint.job_ids]], queue=hint.queue
            )
        except (OperationalError, OSError) as error:
            reason = reason_of(error.__cause__ or error)
            raise ServiceUnavailableError("Redis", address_of(self._settings.redis_url), reason) from None

    def feed(self, batch_id: UUID, jobs: int) -> int:
        """Sends hints for the next ``jobs`` jobs of a batch and returns how many there were."""
        sent = 0
        while sent < jobs:
            taken = self._ledger.take_unsent(batch_id, min(self._settings.slice_jobs, jobs - sent))
            if not taken:
                break
            self.send_all(slices(taken))
            sent += len(taken)
        return sent

    def start_batch(self, batch_id: UUID) -> int:
        """Sends a batch's first hints: a share for each worker process that lives; each slice that ends sends more."""
        processes = max(1, len(self._ledger.leased_workers()))
        return self.feed(batch_id, self._share * processes)

    def feed_on(self, batch_id: UUID, jobs: int) -> None:
        """Lets as many jobs in as have ended: of their own batch or, when it has no more, of the oldest that has."""
        left = jobs - self.feed(batch_id, jobs)
        if left > 0:
            self.feed_any(left)

    def feed_any(self, jobs: int | None = None) -> None:
        """Lets jobs in of the oldest batch that has some to send; a process' share, when it comes to work."""
        hungry = self._ledger.hungry_batch()
        if hungry:
            self.feed(hungry, self._share if jobs is None else jobs)

    @property
    def _share(self) -> int:
        return self._settings.slice_jobs * self._settings.slices_per_batch

    def send_all(self, hints: Sequence[Hint]) -> None:
        """Sends several messages."""
        for hint in hints:
            self.send(hint)

    def close(self) -> None:
        """Closes the broker connections; harmless when repeated."""
        self._app.close()


def slices(taken: Sequence[tuple[UUID, str]]) -> list[Hint]:
    """One bulk message for each provider among the jobs."""
    by_provider: dict[str, list[UUID]] = {}
    for job_id, provider_id in taken:
        by_provider.setdefault(provider_id, []).append(job_id)
    return [Hint(provider_id, BULK_QUEUE, tuple(ids)) for provider_id, ids in by_provider.items()]
