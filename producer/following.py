"""A batch followed to its end, its jobs written as they end."""

from collections.abc import Callable

from jobs.ended import EndedJobs
from jobs.views import Batch
from producer.results import Results


class Following:
    """Reads a batch's status as whoever watches it wants to know it, and on the way writes what has ended since.

    Args:
        status: reads the batch.
        ended: its jobs, not yet taken.
        results: where they go.
        state: only those that ended so; all if None.
    """

    def __init__(
        self, status: Callable[[], Batch], ended: EndedJobs, results: Results, state: str | None = None
    ) -> None:
        self._status, self._ended, self._results, self._state = status, ended, results, state

    def __call__(self) -> Batch:
        """The batch as it is now; if it is done, all of its jobs are written."""
        batch = self._status()
        written = self._results.written
        self._results.write(job for job in self._ended.take(batch) if self._state in (None, job.state))
        if self._results.written > written:
            self._results.flush()
        return batch
