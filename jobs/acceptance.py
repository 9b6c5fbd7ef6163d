"""Accepting single jobs once: a key or a revision that is known is answered with the job that has it."""

from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from config.database import Connection
from config.errors import ConflictError
from jobs.statements import statement
from jobs.terms import Terms


@dataclass(frozen=True)
class Accepted:
    """What came of asking for a job.

    Args:
        job_id: the job, new or not.
        is_new: False where it was there already.
        superseded_by: the job of a newer revision, because of which this one was dropped or is stale.
    """

    job_id: UUID
    is_new: bool = True
    superseded_by: UUID | None = None

    @property
    def waits(self) -> bool:
        """Whether a worker should be told of it."""
        return self.is_new and self.superseded_by is None


def accept(connection: Connection, job: dict[str, Any], terms: Terms) -> Accepted:
    """Records one job, unless it is there.

    If its answer is not heard of, the same call with the same key tells. Of two at once the
    second waits for the first.

    Args:
        connection: inside a transaction, if there is a ``supersede_key``: several statements then.
        job: the columns of its row, by name.
        terms: what makes it one of its kind.

    Raises:
        ConflictError: the key belongs to a job that asks something else.
    """
    row = {**job, **asdict(terms)}
    if terms.supersede_key is not None:
        connection.execute(statement("supersede_lock").encode(), row)
    while not connection.execute(statement("insert_job").encode(), row).fetchone():
        known = connection.execute(statement("known_job").encode(), row).fetchone()
        if known is not None:  # it was removed between the two statements, else
            return _known(known, terms)
    if terms.supersede_key is None:
        return Accepted(row["id"])
    ended = connection.execute(statement("supersede").encode(), row).fetchall()
    return Accepted(row["id"], superseded_by=next((r["superseded_by"] for r in ended if r["id"] == row["id"]), None))


def _known(row: dict[str, Any], terms: Terms) -> Accepted:
    if terms.idempotency_key is not None and row["has_key"] and not row["same"]:
        raise ConflictError(
            f"the idempotency key belongs to a job that asks something else ({row['id']}): use another key"
        )
    return Accepted(row["id"], is_new=False, superseded_by=row["superseded_by"])
