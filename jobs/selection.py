"""Jobs by what they have in common: listed, counted, and run again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any
from uuid import UUID

from config.database import Database
from config.errors import ConflictError, UnknownNameError
from jobs.hints import Hint, group_hints
from jobs.ids import parse_id
from jobs.ledger import PAGE_ROWS, Ledger
from jobs.statements import statement
from jobs.views import DONE, Job, job_of


@dataclass(frozen=True)
class Selection:
    """What jobs are asked for; None asks for nothing.

    Args:
        provider_id: who answered last, or will.
        generations: first and last generation of the provider's definition at the last call.
        states: any of these.
        error_type: name of the error that the job ended with.
        kind: name of the kind.
        batch_id: the batch that it is in.
        job_ids: any of these.
    """

    provider_id: str | None = None
    generations: tuple[int, int] | None = None
    states: tuple[str, ...] | None = None
    error_type: str | None = None
    kind: str | None = None
    batch_id: str | None = None
    job_ids: tuple[UUID, ...] | None = None


def failed_jobs(ledger: Ledger, job_ids: Sequence[str]) -> Selection:
    """Jobs that have failed, by their ids.

    Raises:
        UnknownNameError: there is no such job.
        ConflictError: one of them has not failed.
    """
    jobs = [ledger.job(job_id) for job_id in job_ids]
    for job in jobs:
        if job.state != "failed":
            raise ConflictError(f"job {job.job_id} has not failed: it is {job.state}; nothing was done")
    return Selection(states=("failed",), job_ids=tuple(UUID(job.job_id) for job in jobs))


class SelectedJobs:
    """The jobs of a selection; every call may raise ServiceUnavailableError.

    Args:
        database: Postgres.
        selection: which.

    Raises:
        UnknownNameError: no batch can have that id.
    """

    def __init__(self, database: Database, selection: Selection) -> None:
        self._database = database
        first, last = selection.generations or (None, None)
        batch_id = parse_id(selection.batch_id) if selection.batch_id else None
        if selection.batch_id and not batch_id:
            raise UnknownNameError("batch", selection.batch_id)
        self._parameters: dict[str, Any] = {
            "provider_id": selection.provider_id,
            "first_generation": first,
            "last_generation": last,
            "states": None if selection.states is None else list(selection.states),
            "error_type": selection.error_type,
            "kind": selection.kind,
            "batch_id": batch_id,
            "job_ids": None if selection.job_ids is None else list(selection.job_ids),
            "before_id": None,
        }

    def counts(self) -> dict[str, int]:
        """How many there are, by state."""
        sql = f"SELECT state, count(*) AS n FROM ({statement('selection')}) s GROUP BY state ORDER BY state"  # noqa: S608 - a file of ours
        return {row["state"]: row["n"] for row in self._database.query(sql, self._parameters)}

    def newest(self, limit: int) -> list[Job]:
        """The newest of them, newest first."""
        return [job_of(row) for row in islice(self._rows("*"), limit)]

    def rerun(self, group: int) -> Iterator[tuple[list[Hint], set[UUID], int]]:
        """Queues those that have ended again, a page at a time.

        Args:
            group: most jobs in one message.

        Yields:
            messages for single jobs, batches with jobs to send, and how many jobs were queued.
        """
        ids: list[UUID] = []
        for row in self._rows("id, state"):
            ids += [row["id"]] if row["state"] in DONE else []
            if len(ids) == PAGE_ROWS:
                yield self._rerun(ids, group)
                ids = []
        if ids:
            yield self._rerun(ids, group)

    def _rerun(self, ids: list[UUID], group: int) -> tuple[list[Hint], set[UUID], int]:
        rows = self._database.query(statement("rerun_jobs"), {"ids": ids})
        single = [row for row in rows if row["batch_id"] is None]
        return group_hints(single, group), {row["batch_id"] for row in rows if row["batch_id"]}, len(rows)

    def _rows(self, columns: str) -> Iterator[dict[str, Any]]:
        """Newest first; ids begin with the time of acceptance."""
        sql = f"SELECT {columns} FROM ({statement('selection')}) s ORDER BY id DESC LIMIT {PAGE_ROWS}"  # noqa: S608 - a file of ours
        before: UUID | None = None
        while True:
            rows = self._database.query(sql, {**self._parameters, "before_id": before})
            yield from rows
            if len(rows) < PAGE_ROWS:
                return
            before = rows[-1]["id"]
