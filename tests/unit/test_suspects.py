"""Turns of jobs that worker processes died with."""

import asyncio
from uuid import UUID, uuid4

from worker.suspects import SOME, Suspects


async def most_at_once(suspects: Suspects, losses: int, count: int) -> int:
    inside = most = 0

    async def run(job_id: UUID) -> None:
        nonlocal inside, most
        async with suspects.turn(job_id, losses):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(run(uuid4()) for _ in range(count)))
    return most


async def test_suspects_run_a_few_at_a_time_and_one_with_a_last_chance_alone() -> None:
    assert await most_at_once(Suspects(3), 1, 2 * SOME) == SOME
    assert await most_at_once(Suspects(3), 2, 10) == 1
    assert await most_at_once(Suspects(2), 1, 10) == 1


async def test_a_second_message_does_not_make_a_suspect_wait_twice() -> None:
    suspects, job_id = Suspects(3), uuid4()
    async with suspects.turn(job_id, 1):
        assert suspects.new({job_id: 1}) == {}
    assert suspects.new({job_id: 1}) == {job_id: 1}
