"""The producer's side of the ledger: accepting jobs and showing what came of them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from config.database import Connection, Database
from config.errors import UnknownNameError
from config.redis_names import BULK_QUEUE, INTERACTIVE_QUEUE
from config.resources import text_of
from jobs.ids import new_id, parse_id
from jobs.kind import NewJob
from jobs.views import Batch, Call, Job, batch_of, call_of, job_of

PAGE_ROWS = 1000


@dataclass(frozen=True)
class Target:
    """What is to be done with inputs, and by whom; ``model`` None takes the provider's default."""

    kind: str
    provider_id: str
    model: str | None = None


class Ledger:
    """Accepts jobs and batches and reads them; every call may raise ServiceUnavailableError.

    A call that raises has written nothing. A job that was accepted is in Postgres, whatever becomes of its message.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def accept(self, target: Target, job: NewJob) -> UUID:
        """Records one interactive job and returns its id."""
        job_id = new_id()
        self._database.query(
            statement("insert_job"),
            {
                "id": job_id,
                "custom_id": job.custom_id,
                "kind": target.kind,
                "provider_id": target.provider_id,
                "model": target.model,
                "queue": INTERACTIVE_QUEUE,
                "input": job.input,
            },
        )
        return job_id

    def accept_batch(self, target: Target, jobs: Iterable[NewJob]) -> UUID:
        """Records a batch, all of it or nothing, reading the jobs as a stream; returns its id.

        An error that the iterator raises undoes the whole.
        """
        batch_id = new_id()
        identity = {"kind": target.kind, "provider_id": target.provider_id, "model": target.model}
        with self._database.transaction() as connection:
            connection.execute(statement("insert_batch").encode(), {"id": batch_id, **identity})
            total = _copy(connection, batch_id, target, jobs)
            connection.execute(statement("complete_batch").encode(), {"id": batch_id, "total": total})
        return batch_id

    def take_unsent(self, batch_id: UUID, limit: int) -> list[tuple[UUID, str]]:
        """Marks the next jobs of a batch as sent and returns their ids with their provider ids, in input order."""
        rows = self._database.query(statement("take_unsent"), {"batch_id": batch_id, "limit": limit})
        return [(row["id"], row["provider_id"]) for row in rows]

    def job(self, job_id: str) -> Job:
        """One job.

        Raises:
            UnknownNameError: there is none with that id.
        """
        return job_of(self._one("job", job_id, "select_job"))

    def calls(self, job_id: str) -> list[Call]:
        """The calls made for a job, in order."""
        rows = self._database.query(statement("select_calls"), {"job_id": parse_id(job_id)})
        return [call_of(row) for row in rows]

    def leased_workers(self) -> list[str]:
        """The ids of the worker processes that hold a lease."""
        return [row["id"] for row in self._database.query(statement("leased_workers"))]

    def batch(self, batch_id: str) -> Batch:
        """One batch, from its counters.

        Raises:
            UnknownNameError: there is none with that id.
        """
        return batch_of(self._one("batch", batch_id, "select_batch"))

    def jobs_of_batch(self, batch_id: str) -> Iterator[Job]:
        """All jobs of a batch in input order, a page at a time."""
        batch = UUID(self.batch(batch_id).batch_id)
        after = -1
        while True:
            rows = self._database.query(
                statement("select_jobs_of_batch"), {"batch_id": batch, "after_seq": after, "limit": PAGE_ROWS}
            )
            yield from map(job_of, rows)
            after += len(rows)
            if len(rows) < PAGE_ROWS:
                return

    def _one(self, what: str, name: str, sql: str) -> dict[str, Any]:
        identity = parse_id(name)
        rows = self._database.query(statement(sql), {"id": identity}) if identity else []
        if not rows:
            raise UnknownNameError(what, name)
        return rows[0]


def statement(name: str) -> str:
    """A statement of the ledger, by the name of its file."""
    return text_of("jobs", f"sql/{name}.sql")


def _copy(connection: Connection, batch_id: UUID, target: Target, jobs: Iterable[NewJob]) -> int:
    total = 0
    with connection.cursor().copy(statement("copy_jobs").encode()) as copy:
        for seq, job in enumerate(jobs):
            copy.write_row(
                (
                    new_id(),
                    batch_id,
                    seq,
                    job.custom_id,
                    target.kind,
                    target.provider_id,
                    target.model,
                    BULK_QUEUE,
                    job.input,
                )
            )
            total = seq + 1
    return total
