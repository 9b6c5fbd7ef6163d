"""The producer's side of the ledger: accepting jobs and showing what came of them."""

from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

from config.database import Connection, Database
from config.errors import ConflictError, UnknownNameError
from config.redis_names import BULK_QUEUE, INTERACTIVE_QUEUE
from jobs.acceptance import Accepted, accept
from jobs.ids import new_id, parse_id
from jobs.kind import NewJob
from jobs.spool import Spool
from jobs.statements import statement
from jobs.terms import Target, Terms
from jobs.views import Batch, Call, Job, batch_of, call_of, job_of

PAGE_ROWS = 1000
COPY_BYTES = 32 * 1024 * 1024
"""Inputs in one statement: a second's work, which no limit on the time of statements cuts off."""

COPY_TYPES = ("uuid", "uuid", "int4", "text", "text", "text", "text", "text", "text", "text[]")
"""Of the columns in copy_jobs.sql; json is text on the wire, too, and this one is made already. In binary a row of 1 kB
costs Postgres 8.5 us instead of 10.5."""


class Ledger:
    """Accepts jobs and batches and reads them; every call may raise ServiceUnavailableError.

    A call that raises has written nothing. A job that was accepted is in Postgres, whatever becomes of its message.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def accept(self, target: Target, job: NewJob) -> UUID:
        """Records one interactive job and returns its id."""
        return self.accept_on(target, job, Terms()).job_id

    def accept_on(self, target: Target, job: NewJob, terms: Terms) -> Accepted:
        """Records one interactive job, unless it is there under its key or as its revision.

        Raises:
            ConflictError: the key belongs to a job that asks something else.
        """
        row = {
            "id": new_id(),
            "custom_id": job.custom_id,
            "kind": target.kind,
            "provider_id": target.provider_id,
            "model": target.model,
            "queue": INTERACTIVE_QUEUE,
            "input": job.input,
            "reuse_s": target.reuse_s,
            "fallbacks": target.other_providers,
            "fail_fast": target.fail_fast,
        }
        with self._database.transaction() if terms.supersede_key else self._database.autocommit() as connection:
            return accept(connection, row, terms)

    def accept_batch(
        self, target: Target, jobs: Iterable[NewJob], name: str | None = None, max_cost_usd: float | None = None
    ) -> tuple[UUID, bool]:
        """Records a batch, all of it or nothing; returns its id and whether it is new.

        The jobs are read to their end before anything is begun in Postgres, so no statement of ours waits for them: a
        program that pipes its export in may take hours. An error that the iterator raises has written nothing.

        Args:
            target: what is to be done, and by whom.
            jobs: read to the end.
            name: of the batch; given again with the same jobs, nothing is recorded twice.
            max_cost_usd: its calls may not cost more; None sets no cap.

        Raises:
            ConflictError: the name belongs to a batch of other jobs.
            UsageError: the jobs do not fit into the folder for temporary files.
        """
        self._named(name)  # a Postgres that is away is told now, and not after hours
        with Spool(jobs) as spool:
            batch_id = self._record(spool, target, name, max_cost_usd)
            if batch_id:
                return batch_id, True
            (known,) = self._named(name)
            if known["input_digest"] != spool.digest:
                raise ConflictError(
                    f"the name {name!r} belongs to a batch of other jobs ({known['id']}): use another one"
                )
            return known["id"], False

    def _record(self, spool: Spool, target: Target, name: str | None, max_cost_usd: float | None) -> UUID | None:
        """The new batch's id; None if its name is taken."""
        batch_id = new_id()
        row: dict[str, Any] = {"id": batch_id, "name": name, "kind": target.kind, "provider_id": target.provider_id}
        row |= {"model": target.model, "reuse_s": target.reuse_s, "max_cost_usd": max_cost_usd}
        with self._database.transaction() as connection:
            if not connection.execute(statement("insert_batch").encode(), row).fetchone():
                return None
            jobs = enumerate(spool)
            while _copy(
                connection, batch_id, target, jobs
            ):  # each a statement of its own: none grows long with the batch
                pass
            given = {"id": batch_id, "total": spool.total, "digest": spool.digest}
            connection.execute(statement("complete_batch").encode(), given)
        return batch_id

    def _named(self, name: str | None) -> list[dict[str, Any]]:
        return self._database.query(statement("named_batch"), {"name": name})

    def cancel_batch(self, batch_id: str) -> tuple[int, int]:
        """Ends a batch's queued jobs and asks for the running ones to be stopped; returns how many of each.

        Raises:
            UnknownNameError: there is no such batch.
        """
        return self._cancel(batch_id=UUID(self.batch(batch_id).batch_id))

    def cancel_job(self, job_id: str) -> tuple[int, int]:
        """The same for one job."""
        return self._cancel(job_id=UUID(self.job(job_id).job_id))

    def _cancel(self, *, batch_id: UUID | None = None, job_id: UUID | None = None) -> tuple[int, int]:
        """How many were ended, and how many are being stopped."""
        (counts,) = self._database.query(statement("cancel"), {"batch_id": batch_id, "job_id": job_id})
        return counts["ended"], counts["asked"]

    def pause(self, batch_id: str) -> bool:
        """Lets no further job of a batch begin; False if it has ended. Raises UnknownNameError."""
        return bool(self._database.query(statement("pause_batch"), {"id": UUID(self.batch(batch_id).batch_id)}))

    def resume(self, batch_id: str, max_cost_usd: float | None = None) -> bool:
        """Lets a paused batch go on, once its jobs are sent; False if it has ended.

        Args:
            batch_id: which.
            max_cost_usd: its cap from now on; None leaves it as it is.

        Raises:
            UnknownNameError: there is no such batch.
            ConflictError: it has spent what it may, or as much as it shall be allowed.
        """
        given = {"id": UUID(self.batch(batch_id).batch_id), "max_cost_usd": max_cost_usd}
        if self._database.query(statement("resume_batch"), given):
            return True
        batch = self.batch(batch_id)
        if batch.done:
            return False
        raise ConflictError(f"batch {batch_id} cannot go on: {batch.pause or batch.spent_words}")

    def batches(self, limit: int) -> list[Batch]:
        """The newest batches, newest first."""
        return [batch_of(row) for row in self._database.query(statement("select_batches"), {"limit": limit})]

    def unsent_jobs(self, batch_id: UUID, limit: int) -> tuple[str, int]:
        """A batch's provider, and how many of its jobs wait for somebody to take them, counted up to a limit."""
        rows = self._database.query(statement("unsent_jobs"), {"batch_id": batch_id, "limit": limit})
        return (rows[0]["provider_id"], rows[0]["jobs"]) if rows else ("", 0)

    def put_back(self, limit: int) -> int:
        """How many jobs of batches were put back and will be run again by themselves, counted up to a limit."""
        return int(self._database.query(statement("put_back"), {"limit": limit})[0]["jobs"])

    def hungry_batch(self, but: UUID | None = None) -> UUID | None:
        """The oldest batch with jobs that wait for somebody to take them, if there is one besides ``but``."""
        rows = self._database.query(statement("hungry_batch"), {"but": but})
        return rows[0]["id"] if rows else None

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

    def jobs_of_batch(self, batch_id: str, state: str | None = None) -> Iterator[Job]:
        """The jobs of a batch, all or those in a state, in input order, a page at a time.

        Raises:
            UnknownNameError: there is no such batch, or no more: somebody removed it while its jobs were read.
        """
        sql = (
            f"SELECT * FROM ({statement('select_jobs_of_batch')}) s WHERE seq > %(after_seq)s"  # noqa: S608 - a file of ours
            " AND (%(state)s::text IS NULL OR state = %(state)s) ORDER BY seq LIMIT %(limit)s"
        )
        given = {"batch_id": UUID(self.batch(batch_id).batch_id), "state": state, "limit": PAGE_ROWS}
        after = -1
        while True:
            rows = self._database.query(sql, {**given, "after_seq": after})
            yield from map(job_of, rows)
            if len(rows) < PAGE_ROWS:
                break
            after = rows[-1]["seq"]
        self.batch(batch_id)

    def _one(self, what: str, name: str, sql: str) -> dict[str, Any]:
        identity = parse_id(name)
        rows = self._database.query(statement(sql), {"id": identity}) if identity else []
        if not rows:
            raise UnknownNameError(what, name)
        return rows[0]


def _copy(connection: Connection, batch_id: UUID, target: Target, jobs: Iterator[tuple[int, NewJob]]) -> bool:
    """Writes the next jobs with their places; False if those were all. Postgres takes rows in while we make more."""
    size_bytes = 0
    with connection.cursor().copy(statement("copy_jobs").encode()) as copy:
        copy.set_types(COPY_TYPES)
        for seq, job in jobs:
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
                    target.other_providers,
                )
            )
            size_bytes += len(job.input)
            if size_bytes >= COPY_BYTES:
                return True
    return False
