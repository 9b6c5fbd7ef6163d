"""Removes what ended longer ago than the operator wants to keep it, a page at a time."""

import logging
import time
from collections.abc import Callable, Iterator

from config.database import Database
from config.settings import Settings
from jobs.purge import OldWork, Purged

log = logging.getLogger(__name__)

DAY_S = 86_400.0
REST_S = 600.0
"""Pause after all is removed: each walk looks at every job that is old and still there."""


class Retention:
    """One page or one batch a round, in every worker process; off unless the setting says how many days.

    A round takes what it removes with locks, so rounds of several processes may overlap.

    Args:
        database: Postgres.
        settings: how long ended work is kept.
        stopping: whether the process stops; a batch that is half removed is given up then, and stays whole.
        clock: seconds that only go up.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        stopping: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database, self._days, self._stopping, self._clock = database, settings.retention_days, stopping, clock
        self._pages: Iterator[Purged] | None = None
        self._resting_until = float("-inf")
        self._walk = Purged()
        self.purged = 0
        """Jobs that this process has removed."""

    def round(self) -> None:
        """Removes some, unless there is nothing to do.

        Raises:
            ServiceUnavailableError: Postgres is away; the walk begins anew in the next round but some.
        """
        if self._days is None or self._clock() < self._resting_until:
            return
        if self._pages is None:
            self._pages = OldWork(self._database, self._days * DAY_S, stopping=self._stopping).purge()
        page = next(self._pages, None)
        if page is not None:
            self._walk += page
            self.purged += page.jobs
            return
        if self._walk != Purged():
            words = "older than %g days: removed %d jobs, %d whole batches among them"
            log.info(words, self._days, self._walk.jobs, self._walk.batches)
        self._pages, self._walk, self._resting_until = None, Purged(), self._clock() + REST_S
