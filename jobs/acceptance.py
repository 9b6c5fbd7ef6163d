"""Accepting single jobs once: a key or a revision that is known is answered with the job that has it."""

from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from config.database import Connection
from config.errors import ConflictError, InvalidInputError
from jobs.kind import MAX_NAME
from jobs.statements import statement

MAX_REVISION = 2**63 - 1


@dataclass(frozen=True)
class Terms:
    """What makes a job one of its kind; each part may be None.

    Args:
        idempotency_key: asked again under it, the first job is the answer.
        supersede_key: names the thing, such as a ticket, that this is a revision of; for each kind by itself.
        revision: of that thing, from 0; the newest is worth running.

    Raises:
        InvalidInputError: a key is empty or too long, or one of key and revision is missing.
    """

    idempotency_key: str | None = None
    supersede_key: str | None = None
    revision: int | None = None

    def __post_init__(self) -> None:
        check_name("idempotency_key", self.idempotency_key)
        check_name("supersede_key", self.supersede_key)
        if (self.supersede_key is None) != (self.revision is None):
            raise InvalidInputError(((0, "supersede_key and revision: give both or none"),))
        if self.revision is not None and not (type(self.revision) is int and 0 <= self.revision <= MAX_REVISION):
            raise InvalidInputError(((0, f"revision: a whole number from 0 to {MAX_REVISION}"),))


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


def check_name(what: str, name: object) -> None:
    """Judges a name that a caller may give, or None.

    Raises:
        InvalidInputError: it is empty, too long, or no text that Postgres can keep.
    """
    if name is None:
        return
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or "\0" in name or not _is_unicode(name):
        raise InvalidInputError(((0, f"{what}: 1 to {MAX_NAME} characters"),))


def _is_unicode(text: str) -> bool:
    """Half a surrogate pair cannot be sent to Postgres; command lines that are not UTF-8 hold such."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _known(row: dict[str, Any], terms: Terms) -> Accepted:
    if terms.idempotency_key is not None and row["has_key"] and not row["same"]:
        raise ConflictError(
            f"the idempotency key belongs to a job that asks something else ({row['id']}): use another key"
        )
    return Accepted(row["id"], is_new=False, superseded_by=row["superseded_by"])
