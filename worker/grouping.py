"""Group commit: while one statement runs, what others want written gathers and goes out together next."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

from config.errors import ServiceUnavailableError

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Answer = TypeVar("Answer")

FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 2.0


class Grouped(Generic[Item, Answer]):
    """Writes items of many coroutines in groups; each gets its own answer.

    With nothing waiting an item goes out at once, so a single job pays no delay; under load groups grow by themselves.
    While Postgres is away the items wait here and go out when it is back: what a paid call brought is never thrown
    away because the ledger was restarting.

    Args:
        write: takes a group and returns one answer an item; runs in ``executor``.
        executor: threads for the statements.
        largest: most items in one group.
    """

    def __init__(
        self, write: Callable[[Sequence[Item]], Sequence[Answer]], executor: Executor, largest: int = 500
    ) -> None:
        self._write, self._executor, self._largest = write, executor, largest
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Answer:
        """Writes one item with whatever else is waiting and returns its answer."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain())
        return await future

    async def _drain(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[: self._largest], self._waiting[self._largest :]
            try:
                answers = await self._written([item for item, _ in group])
            except Exception:
                await self._one_by_one(group)
                continue
            for (_, future), answer in zip(group, answers, strict=True):
                if not future.done():
                    future.set_result(answer)

    async def _one_by_one(self, group: Sequence[tuple[Item, asyncio.Future[Answer]]]) -> None:
        """An item that cannot be written fails alone."""
        for item, future in group:
            if future.done():
                continue
            try:
                future.set_result((await self._written([item]))[0])
            except Exception as error:
                future.set_exception(error)

    async def _written(self, items: Sequence[Item]) -> Sequence[Answer]:
        wait_s = FIRST_WAIT_S
        while True:
            try:
                return await asyncio.get_running_loop().run_in_executor(self._executor, self._write, items)
            except ServiceUnavailableError as error:
                log.warning("%d entries wait for the ledger: %s", len(items), error)
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)
