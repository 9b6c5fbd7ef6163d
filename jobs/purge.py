"""Removes what ended long ago: single jobs, and batches as a whole; their inputs, results and calls go with them."""

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import Rollback

from config.database import Connection, Database
from jobs.ids import first_id
from jobs.statements import statement
from jobs.views import DONE

PAGE_JOBS = 2000
"""Jobs that one statement looks at: 0.1 s of Postgres' time, and a transaction that is soon over."""

LONGEST_S = 100 * 365 * 86_400.0
"""A hundred years: what Postgres' calendar has room for, and nothing is older."""


@dataclass(frozen=True)
class Purged:
    """How much was removed; ``jobs`` counts those of the batches too."""

    jobs: int = 0
    batches: int = 0

    def __add__(self, other: "Purged") -> "Purged":
        return Purged(self.jobs + other.jobs, self.batches + other.batches)


class OldWork:
    """What ended long ago, by Postgres' clock; every call may raise ServiceUnavailableError.

    Workers, sweepers and others that remove go on meanwhile: rows are taken with locks that nobody waits for, and one
    that somebody else holds, such as a job that is just run again, stays.

    Args:
        database: Postgres.
        age_s: seconds since it ended.
        states: those alone; of a batch, the state that it shows.
        stopping: asked between statements; once true, what is not whole is given up.
    """

    def __init__(
        self,
        database: Database,
        age_s: float,
        states: Collection[str] = DONE,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._database, self._stopping = database, stopping
        age_s = min(age_s, LONGEST_S)
        # What was accepted later cannot have ended earlier; ids tell when, and save looking at the rest.
        self._given: dict[str, Any] = {
            "age_s": age_s,
            "states": sorted(states),
            "before": first_id(max(0.0, time.time() - age_s)),
            "limit": PAGE_JOBS,
        }

    def counts(self) -> Purged:
        """How much there is to remove."""
        (row,) = self._database.query(statement("old_work"), self._given)
        return Purged(int(row["jobs"]), row["batches"])

    def purge(self) -> Iterator[Purged]:
        """Removes it, in transactions of one page or one batch, and says after each how much it was."""
        yield from self._batches()
        yield from self._singles()

    def _batches(self) -> Iterator[Purged]:
        after = first_id(0)
        while not self._stopping():
            jobs = None
            with self._database.transaction() as connection:
                batch = connection.execute(statement("old_batch").encode(), {**self._given, "after": after}).fetchone()
                if batch is None:
                    return
                jobs = self._remove(connection, batch["id"], batch["total"])
            after = batch["id"]
            if jobs is not None:
                yield Purged(jobs, 1)

    def _remove(self, connection: Connection, batch_id: UUID, total: int) -> int:
        """One batch, all of it or nothing, which is if one of its jobs is in use again or there is no time for it."""
        jobs = 0
        for first in range(0, total, PAGE_JOBS):
            if self._stopping():
                break
            given = {"id": batch_id, "first": first, "end": first + PAGE_JOBS}
            jobs += connection.execute(statement("purge_batch_jobs").encode(), given).rowcount
        if not connection.execute(statement("purge_batch").encode(), {"id": batch_id}).fetchone():
            raise Rollback
        return jobs

    def _singles(self) -> Iterator[Purged]:
        after: UUID | None = first_id(0)
        while after and not self._stopping():
            (row,) = self._database.query(statement("purge_singles"), {**self._given, "after": after})
            after = row["last_id"]
            yield Purged(row["jobs"])
