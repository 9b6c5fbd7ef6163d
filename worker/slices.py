"""What a message asks for: claim its jobs, run them side by side, send what comes next."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any
from uuid import UUID

from config.errors import ServiceUnavailableError
from config.settings import Settings
from jobs.dispatch import Dispatcher
from jobs.hints import Hint
from jobs.records import Ask, Claim, Release, Settlement
from worker.books import Hand, LedgerBooks
from worker.job_runner import JobRunner
from worker.suspects import Suspects

log = logging.getLogger(__name__)

Ends = list[tuple[Claim, Settlement | Release | None]]


class SliceRunner:
    """Runs the jobs that messages name.

    A message is a hint: jobs that are not queued any more are passed over. Delivered twice, one that names jobs finds
    nothing, and one that asks for a batch's next jobs takes others. When the slice has run its time, what is not begun
    goes back and is sent anew, so that no message is held for long. Each job that ends has one more of its batch asked
    for, half a slice at a time: a slice may last as long as one of its jobs that is tried again and again, and the
    others' places are not to stand empty meanwhile.

    Args:
        books: claims.
        runner: runs one job.
        dispatcher: sends hints.
        settings: the slice's time budget.
    """

    def __init__(self, books: LedgerBooks, runner: JobRunner, dispatcher: Dispatcher, settings: Settings) -> None:
        self._books, self._runner, self._dispatcher, self._settings = books, runner, dispatcher, settings
        self.in_hand: dict[UUID, int] = {}
        """The jobs that this process has, with their fences."""
        self._tasks: dict[UUID, asyncio.Task[Settlement | Release | None]] = {}
        self._suspects = Suspects(settings.max_losses)
        self._ended, self._begun = Counter[UUID](), Counter[UUID]()
        """Jobs that have ended and for which none was sent, and those in hand, by their batch."""
        self._feeding: set[asyncio.Task[None]] = set()

    async def run(self, hand: Hand, ended: Callable[[], None] = lambda: None) -> None:
        """Runs jobs to their end or back into the queue; suspects among them when their turn has come.

        Args:
            hand: the jobs.
            ended: called when one of those that were claimed is no longer in hand.
        """
        if not hand.suspects:
            await self._send_next(await self._run_all(hand.claims, ended))
            return
        turns = [self._run_suspect(job_id, losses) for job_id, losses in self._suspects.new(hand.suspects).items()]
        ends = await asyncio.gather(self._run_all(hand.claims, ended), *turns)
        await self._send_next([end for some in ends for end in some])

    def give_back(self, jobs: Sequence[tuple[UUID, int, bool]]) -> None:
        """Stops jobs that this process has: with the calls that they wait for, or before their next call.

        Args:
            jobs: id, fence, and whether to end it at once.
        """
        for job_id, fence, at_once in jobs:
            if self.in_hand.get(job_id) != fence:
                continue
            if not at_once:
                self._runner.yield_soon(job_id)
            elif self._runner.may_stop(job_id):
                self._tasks[job_id].cancel()

    async def _run_all(self, claims: Sequence[Claim], ended: Callable[[], None] = lambda: None) -> Ends:
        deadline = time.monotonic() + self._settings.slice_budget_s
        self._tasks |= {claim.job_id: asyncio.ensure_future(self._run_one(claim, deadline, ended)) for claim in claims}
        ends = await asyncio.gather(*(self._tasks[claim.job_id] for claim in claims))
        return list(zip(claims, ends, strict=True))

    async def _run_suspect(self, job_id: UUID, losses: int) -> Ends:
        """The time until its turn is none of its own, and it is not ours before."""
        async with self._suspects.turn(job_id, losses):
            hand = await self._kept(self._suspect(job_id))
            return await self._run_all(hand.claims)

    async def _suspect(self, job_id: UUID) -> Hand:
        claim = await self._books.claim_suspect(job_id)
        return Hand([claim] if claim else [])

    async def _run_one(self, claim: Claim, deadline: float, ended: Callable[[], None]) -> Settlement | Release | None:
        self.in_hand[claim.job_id] = claim.fence
        if claim.batch_id:
            self._begun[claim.batch_id] += 1
        try:
            end = await self._runner.run(claim, deadline)
            if claim.batch_id and isinstance(end, Settlement):
                self._note_end(claim.batch_id)
            return end
        finally:
            if claim.batch_id:
                self._begun[claim.batch_id] -= 1
            if self.in_hand.get(claim.job_id) == claim.fence:
                del self.in_hand[claim.job_id]
                del self._tasks[claim.job_id]
            ended()

    def _note_end(self, batch_id: UUID) -> None:
        self._ended[batch_id] += 1
        if self._ended[batch_id] > self._settings.slice_jobs // 2:
            task = asyncio.create_task(self._feed([batch_id]), name="feed")
            self._feeding.add(task)
            task.add_done_callback(self._feeding.discard)

    def _is_last(self, batch_id: UUID) -> bool:
        """Whether no other slice of the batch is here to feed it; did each feed it, slices would get ever smaller."""
        self._begun += Counter()  # drops those with none
        return batch_id not in self._begun

    async def _feed(self, batches: Collection[UUID]) -> None:
        """Lets as many jobs in as have ended."""
        try:
            for batch_id in batches:
                jobs = self._ended.pop(batch_id, 0)
                if jobs:
                    await self._books.in_thread(lambda b=batch_id, n=jobs: self._dispatcher.feed_on(b, n))  # type: ignore[misc]
        except ServiceUnavailableError as error:
            log.warning("the next messages were not sent (%s); the sweeper will send them", error)

    async def claim(self, ask: Ask) -> Hand:
        """Takes jobs."""
        return await self._kept(self._books.claim(ask))

    async def _kept(self, claims: Coroutine[Any, Any, Hand]) -> Hand:
        """A claim is not cut off half-way: what Postgres gives us while the worker stops is given back."""
        claiming = asyncio.ensure_future(claims)
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            for claim in (await claiming).claims:
                await self._books.record(Release(claim.job_id, claim.fence, claim.attempts))
            raise

    async def _send_next(self, ends: Ends) -> None:
        """Hints for what went back and is due, and for as many new jobs of each batch as have ended."""
        hints = _again(ends)
        try:
            if hints:
                await self._books.in_thread(lambda: self._dispatcher.send_all(hints))
        except ServiceUnavailableError as error:
            log.warning("the next messages were not sent (%s); the sweeper will send them", error)
        batches = {claim.batch_id for claim, _ in ends if claim.batch_id}
        await self._feed([batch_id for batch_id in batches if self._is_last(batch_id)])


def _again(ends: Ends) -> list[Hint]:
    """Messages for jobs that went back without a wait; those with one are sent by the sweeper when it is over."""
    groups: dict[tuple[str, str], list[UUID]] = {}
    for claim, end in ends:
        if isinstance(end, Release) and end.wait_s == 0:
            groups.setdefault((claim.provider_id, claim.queue), []).append(claim.job_id)
    return [Hint(provider_id, queue, tuple(ids)) for (provider_id, queue), ids in groups.items()]
