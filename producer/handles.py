"""Handles on jobs and batches that were accepted: how they are, and what came of them."""

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from config.errors import BatchPausedError, JobFailedError, WaitTimeoutError

if TYPE_CHECKING:
    from jobs.bell import Bell, Ear
    from jobs.ledger import Ledger
    from jobs.views import Batch, Job

FIRST_POLL_S, LONGEST_POLL_S = 0.005, 0.25
FIRST_LOOK_S = 0.02
"""A job that was accepted just now is looked for no sooner: it has not ended, and a worker claims it meanwhile."""


class JobHandle:
    """A job that was accepted; it runs whether anybody waits for it or not.

    ``is_new`` is False where it was already there, under its key or as its revision.
    """

    def __init__(self, ledger: "Ledger", bell: "Bell", job_id: str, kind: str, *, is_new: bool = True) -> None:
        self._ledger, self._bell, self.job_id, self._kind, self.is_new = ledger, bell, job_id, kind, is_new
        self._may_be_done = not is_new

    def __repr__(self) -> str:
        return f"JobHandle({self.job_id})"

    def status(self) -> "Job":
        """The job as it is now."""
        return self._ledger.job(self.job_id)

    def wait(self, timeout_s: float) -> "Job":
        """The job once it has ended.

        Raises:
            WaitTimeoutError: it has not ended in time; it goes on.
        """
        if self._may_be_done and (job := self.status()).done:
            return job
        new, self._may_be_done = not self._may_be_done, True
        with self._bell.listening(self.job_id) as ear:
            if ear is not None and new:
                ear.wait(min(FIRST_LOOK_S, timeout_s))
            return _poll(self.status, "job", self.job_id, timeout_s, ear)

    def result(self, timeout_s: float = 60.0) -> Any:
        """The kind's output, such as a ``TicketSummary``.

        Raises:
            JobFailedError: the job ended without a result, and says why.
            WaitTimeoutError: it has not ended in time; it goes on.
        """
        from jobs.kinds import kind_named

        job = self.wait(timeout_s)
        if job.state != "succeeded":
            error = job.error
            raise JobFailedError(self.job_id, error.type if error else job.state, error.message if error else "")
        return kind_named(self._kind).output.model_validate(job.result)


class BatchHandle:
    """A batch that was accepted as a whole; ``is_new`` is False where it was already there under its name."""

    def __init__(self, ledger: "Ledger", batch_id: str, *, is_new: bool = True) -> None:
        self._ledger, self.batch_id, self.is_new = ledger, batch_id, is_new

    def __repr__(self) -> str:
        return f"BatchHandle({self.batch_id})"

    def status(self) -> "Batch":
        """The batch as it is now: one row, whatever its size."""
        return self._ledger.batch(self.batch_id)

    def wait(self, timeout_s: float) -> "Batch":
        """The batch once every job of it has ended.

        Raises:
            WaitTimeoutError: it has not ended in time; it goes on.
            BatchPausedError: it waits for somebody's word, such as a higher cap; nothing of it runs any more.
        """
        return _poll(lambda: going_on(self.status()), "batch", self.batch_id, timeout_s)

    def jobs(self, state: str | None = None) -> "Iterator[Job]":
        """Its jobs with their results, all or those in a state such as ``failed``, in input order."""
        return self._ledger.jobs_of_batch(self.batch_id, state)


def going_on(batch: "Batch") -> "Batch":
    """The batch, if waiting for it makes sense.

    Raises:
        BatchPausedError: it is paused for a reason that only a person can remove, and nothing of it runs any more.
    """
    if batch.pause and not batch.running:
        raise BatchPausedError(batch.batch_id, batch.pause)
    return batch


View = TypeVar("View", "Job", "Batch")


def _poll(status: Callable[[], View], what: str, name: str, timeout_s: float, ear: "Ear | None" = None) -> View:
    """Asks until it is done: when it rings, and else at first often and then four times a second."""
    deadline, pause_s = time.monotonic() + timeout_s, FIRST_POLL_S
    while not (view := status()).done:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise WaitTimeoutError(what, name, timeout_s)
        if ear is not None:
            ear = ear if ear.wait(left_s) else None
            continue
        time.sleep(min(pause_s, left_s))
        pause_s = min(pause_s * 1.5, LONGEST_POLL_S)
    return view
