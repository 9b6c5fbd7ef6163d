"""Group commit: one write for many, an answer each, nothing lost while the ledger is away, one bad item fails alone."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from config.errors import ServiceUnavailableError
from worker import grouping
from worker.grouping import Grouped


@pytest.fixture
def threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1)


async def test_items_gather_while_one_group_is_written(threads: ThreadPoolExecutor) -> None:
    groups: list[int] = []
    gate = threading.Event()

    def write(items: Sequence[int]) -> list[int]:
        gate.wait(5)
        groups.append(len(items))
        return [item * 2 for item in items]

    grouped = Grouped(write, threads)
    tasks = [asyncio.create_task(grouped(n)) for n in range(1)]
    await asyncio.sleep(0)
    tasks += [asyncio.create_task(grouped(n)) for n in range(1, 100)]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*tasks) == [n * 2 for n in range(100)]
    assert sum(groups) == 100
    assert len(groups) <= 3


async def test_groups_are_bounded(threads: ThreadPoolExecutor) -> None:
    groups: list[int] = []

    def write(items: Sequence[int]) -> Sequence[int]:
        groups.append(len(items))
        return items

    grouped = Grouped(write, threads, largest=7)
    await asyncio.gather(*(grouped(n) for n in range(50)))
    assert max(groups) == 7
    assert sum(groups) == 50


async def test_what_cannot_be_written_now_waits(threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "FIRST_WAIT_S", 0.001)
    left = 3

    def write(items: Sequence[int]) -> list[int]:
        nonlocal left
        left -= 1
        if left:
            raise ServiceUnavailableError("Postgres", "somewhere")
        return list(items)

    assert await Grouped(write, threads)(5) == 5
    assert left == 0


async def test_one_bad_item_fails_alone(threads: ThreadPoolExecutor) -> None:
    def write(items: Sequence[int]) -> list[int]:
        if 13 in items:
            raise ValueError("13")
        return list(items)

    grouped = Grouped(write, threads)
    answers = await asyncio.gather(*(grouped(n) for n in range(20)), return_exceptions=True)
    assert isinstance(answers[13], ValueError)
    assert [answer for answer in answers if not isinstance(answer, BaseException)] == [n for n in range(20) if n != 13]


async def test_whoever_stops_waiting_stops_nobody_else(threads: ThreadPoolExecutor) -> None:
    grouped = Grouped[int, int](list, threads)
    first, second = asyncio.create_task(grouped(1)), asyncio.create_task(grouped(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == 2
    with pytest.raises(asyncio.CancelledError):
        await first
