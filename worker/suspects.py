"""Jobs that worker processes died with: a few at a time, and whoever has its last chance alone, to find who kills."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from uuid import UUID

SOME = 64
"""Enough to have a killed process' jobs done soon, few enough to be run one by one if the next process dies, too."""


class Suspects:
    """Gives them their turns.

    A process that dies takes hundreds of jobs with it, and one of them may be why. After the first death all of them
    are suspects and run ``SOME`` at a time; if a process dies with some in hand, those alone are blamed (see
    ``jobs/sql/lost_jobs.sql``). One that may die no more runs alone among its like, so that who fails is who kills.
    A suspect is claimed when its turn has come and not before: what a process has in hand is what may have killed it.

    Args:
        max_losses: deaths after which a job fails.
    """

    def __init__(self, max_losses: int) -> None:
        self._last_chance = max_losses - 1
        self._some, self._one = asyncio.Semaphore(SOME), asyncio.Semaphore(1)
        self._here = set[UUID]()

    def new(self, losses: Mapping[UUID, int]) -> dict[UUID, int]:
        """Those that do not wait or run here already, because of an earlier message."""
        return {job_id: count for job_id, count in losses.items() if job_id not in self._here}

    @asynccontextmanager
    async def turn(self, job_id: UUID, losses: int) -> AsyncIterator[None]:
        """Waits for a job's turn and keeps it for the block."""
        self._here.add(job_id)
        try:
            async with self._one if losses >= self._last_chance else self._some:
                yield
        finally:
            self._here.discard(job_id)
