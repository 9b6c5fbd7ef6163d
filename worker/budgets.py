"""Jobs of a batch with a cap wait here while all money that is left is promised to calls in flight."""

import asyncio
import time
from collections.abc import Callable
from uuid import UUID
from weakref import WeakValueDictionary

from worker.progress import Books, Progress, YieldError

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 1.0
"""Between two looks of a process at what is left; they double, since calls that take long free nothing for long."""


class NoRoomError(Exception):
    """The most that the call can cost is not free now. It will be when calls in flight have cost less, or not at all.

    Args:
        cost_usd: what it takes.
    """

    def __init__(self, cost_usd: float) -> None:
        super().__init__(cost_usd)
        self.cost_usd = cost_usd


class Budgets:
    """One job of each batch looks, the others of this process wait behind it in order: so many jobs cost one question.

    Nothing is reserved here; that is done by the intent. Whoever comes back too late for what it saw waits again.

    Args:
        books: know what is left.
    """

    def __init__(self, books: Books) -> None:
        self._books = books
        self._lines: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    async def wait(self, progress: Progress, cost_usd: float, draining: Callable[[], bool]) -> None:
        """Waits until so much of the batch's money is free, or can never be: then the intent pauses the batch.

        Args:
            progress: of the job.
            cost_usd: the most that its next call can cost.
            draining: whether the worker stops.

        Raises:
            YieldError: the job goes back: its slice's time is up, the worker stops, or its batch is paused.
            ServiceUnavailableError: Postgres is away.
        """
        batch_id = progress.claim.batch_id
        assert batch_id is not None  # noqa: S101 - only batches have a cap
        line = self._lines.setdefault(batch_id, asyncio.Lock())
        async with line:
            pause_s = FIRST_PAUSE_S
            while True:
                if draining() or time.monotonic() > progress.deadline:
                    raise YieldError
                room = await self._books.room(batch_id)
                if room is None:
                    raise YieldError
                if not room.now_usd < cost_usd <= room.most_usd:
                    return
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
