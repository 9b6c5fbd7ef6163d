"""A job that is claimed anew by the process that has it: the older run ends quietly, and the newer one goes on."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from jobs.chat import NO_USAGE, ChatReply
from jobs.records import Claim, Entry, Settlement
from worker.caller import LeaseLostError
from worker.job_runner import JobRunner
from worker.progress import Progress
from worker.retry import RetryPolicy

OLD = Claim(uuid4(), None, "complete", "p", None, "interactive", '{"prompt": "x"}', 1, 0)
NEW = replace(OLD, fence=2)


class Caller:
    """Answers once it is told to; Postgres has forgotten the older claim."""

    def __init__(self) -> None:
        self.may_answer = {claim.fence: asyncio.Event() for claim in (OLD, NEW)}

    async def call(self, progress: Progress, *_: Any, **__: Any) -> ChatReply:
        await self.may_answer[progress.claim.fence].wait()
        if progress.claim.fence == OLD.fence:
            raise LeaseLostError
        return ChatReply("an answer", NO_USAGE, "m")


@pytest.mark.parametrize("first", [OLD, NEW])
def test_both_runs_come_to_their_end(first: Claim) -> None:
    recorded: list[Entry] = []

    async def record(*entries: Entry) -> bool:
        recorded.extend(entries)
        return True

    async def run() -> None:
        caller: Any = Caller()
        runner = JobRunner(caller, SimpleNamespace(record=record), RetryPolicy())
        runs = {claim.fence: asyncio.create_task(runner.run(claim, 1e12)) for claim in (OLD, NEW)}
        await asyncio.sleep(0)
        caller.may_answer[first.fence].set()
        await runs.pop(first.fence)
        assert runner.may_stop(OLD.job_id) is (first is OLD), "by its id, the newer one"
        caller.may_answer[next(iter(runs))].set()
        await runs.popitem()[1]

    asyncio.run(run())
    assert [(type(entry), entry.fence) for entry in recorded if isinstance(entry, Settlement)] == [(Settlement, 2)]
