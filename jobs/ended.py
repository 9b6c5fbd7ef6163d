"""The jobs of a batch as they end: each once, without a query while nothing has ended and without an index for it."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from config.database import Database
from config.errors import UnknownNameError
from jobs.ids import parse_id
from jobs.ledger import PAGE_ROWS
from jobs.statements import statement
from jobs.views import Batch, Job, job_of

WINDOW_JOBS = 10_000
"""How far beyond the last job that ended others are looked for; what is in the broker at a time is less."""


class EndedJobs:
    """Reads the jobs of one batch, each once, soon after its end; the last reading takes all that is left.

    No column gives an order in which ends become visible: transactions commit in another order than their times say.
    So places in the input are remembered: all before a frontier were looked at, and those of them that had not
    ended are kept. The batch's counters say whether there is anything to read. A job that is run again after it was
    taken is not taken again.

    Args:
        database: Postgres; every call may raise ServiceUnavailableError.
        batch_id: of a batch that is there.
        in_order: take each job only after all before it in the input.
    """

    def __init__(self, database: Database, batch_id: str, *, in_order: bool = False) -> None:
        self._database, self._in_order = database, in_order
        self._given: dict[str, Any] = {"batch_id": parse_id(batch_id), "limit": PAGE_ROWS}
        self._frontier, self._window = 0, WINDOW_JOBS
        self._open: dict[int, None] = {}  # an ordered set: places before the frontier that had not ended
        self._taken = 0

    def take(self, batch: Batch) -> Iterator[Job]:
        """What has ended since the last time; once the batch is done, all that is left.

        Args:
            batch: as it was just read.

        Raises:
            UnknownNameError: somebody removed the batch while its jobs were read.
        """
        if batch.done:
            yield from self._of_open(ended=False)
            yield from self._beyond(ended=False)
            if self._taken < batch.total:
                raise UnknownNameError("batch", batch.batch_id)
        elif self._taken < batch.succeeded + batch.failed + batch.cancelled:
            yield from self._next_in_order() if self._in_order else self._in_any_order(batch.total)

    def _in_any_order(self, total: int) -> Iterator[Job]:
        yield from self._of_open(ended=True)
        before = self._frontier
        yield from self._beyond(ended=True)
        self._window = WINDOW_JOBS if self._frontier > before else min(2 * self._window, total)

    def _of_open(self, *, ended: bool) -> Iterator[Job]:
        places = iter(list(self._open))
        while page := list(islice(places, PAGE_ROWS)):
            for row in self._rows("seq = ANY (%(seqs)s)", ended, seqs=page):
                del self._open[row["seq"]]
                yield self._took(row)

    def _beyond(self, *, ended: bool) -> Iterator[Job]:
        within = "seq >= %(from_seq)s" + (" AND seq < %(to_seq)s" if ended else "")
        while True:
            rows = self._rows(within, ended, from_seq=self._frontier, to_seq=self._frontier + self._window)
            for row in rows:
                self._open.update(dict.fromkeys(range(self._frontier, row["seq"])))
                self._frontier = row["seq"] + 1
                yield self._took(row)
            if len(rows) < PAGE_ROWS:
                return

    def _next_in_order(self) -> Iterator[Job]:
        given = {**self._given, "from_seq": self._frontier}
        (barrier,) = self._database.query(statement("first_open_job"), given) or ({"seq": None},)
        within = "seq >= %(from_seq)s AND (%(to_seq)s::int IS NULL OR seq < %(to_seq)s)"
        while rows := self._rows(within, True, from_seq=self._frontier, to_seq=barrier["seq"]):
            for row in rows:
                if row["seq"] != self._frontier:
                    return  # one before it was asked to run again just now
                self._frontier += 1
                yield self._took(row)

    def _took(self, row: dict[str, Any]) -> Job:
        self._taken += 1
        return job_of(row)

    def _rows(self, where: str, ended: bool, **given: Any) -> list[dict[str, Any]]:
        sql = (
            f"SELECT * FROM ({statement('select_jobs_of_batch')}) s WHERE {where}"  # noqa: S608 - texts of ours
            f"{' AND finished_at IS NOT NULL' if ended else ''} ORDER BY seq LIMIT %(limit)s"
        )
        return self._database.query(sql, {**self._given, **given})
