"""What messages ask for: jobs by their ids, or the next ones of a batch; the ledger says which are still to be done."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID


@dataclass(frozen=True)
class NextJobs:
    """The jobs of a batch whose turn is next in the order of its input, whichever those are when they are taken."""

    batch_id: UUID
    jobs: int


@dataclass(frozen=True)
class Hint:
    """What a message should ask for: jobs of one provider by their ids, or the next ones of a batch."""

    provider_id: str
    queue: str
    job_ids: tuple[UUID, ...] = ()
    next_jobs: NextJobs | None = None


def group_hints(rows: Sequence[dict[str, Any]], group: int) -> list[Hint]:
    """Messages for rows of ``id, provider_id, queue``: one provider and queue each, at most ``group`` jobs."""
    gathered: dict[tuple[str, str], list[UUID]] = {}
    for row in rows:
        gathered.setdefault((row["provider_id"], row["queue"]), []).append(row["id"])
    return [
        Hint(provider_id, queue, tuple(ids[start : start + group]))
        for (provider_id, queue), ids in gathered.items()
        for start in range(0, len(ids), group)
    ]
