"""The process' pen: groups what many jobs want written and keeps statements off the event loop."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar
from uuid import UUID

from config.errors import ServiceUnavailableError
from jobs.records import Ask, CallStart, Claim, Earlier, Entry, Room, Verdict, Wanted
from jobs.work import WorkLedger
from worker.grouping import Grouped

Result = TypeVar("Result")
CLAIMS_AT_ONCE = 64
"""Messages that share one statement; slices of batches take hundreds of rows each, messages of single jobs one."""

THREADS = 4
"""Threads, and so connections: intents, settlements, claims and everything else do not wait for each other."""


@dataclass(frozen=True)
class Hand:
    """What a message got: jobs that were taken, and suspects with the number of processes that died with each."""

    claims: list[Claim]
    suspects: Mapping[UUID, int] = field(default_factory=dict)


class LedgerBooks:
    """Writes to the ledger in groups; everything here waits while Postgres is away.

    Args:
        ledger: the worker's side of the ledger.
    """

    def __init__(self, ledger: WorkLedger) -> None:
        self._ledger = ledger
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="ledger")
        self._asking = ThreadPoolExecutor(THREADS, thread_name_prefix="asking")
        self._begin = Grouped[CallStart, Verdict](ledger.begin_calls, self._threads)
        self._record = Grouped[Sequence[Entry], bool](self._record_jobs, self._threads)
        self._claim = Grouped[Ask, Hand](self._claim_asked, self._threads, largest=CLAIMS_AT_ONCE)
        self._claim_suspect = Grouped[UUID, Claim | None](self._claim_suspects, self._threads)
        self._earlier = Grouped[Wanted, Earlier | None](ledger.earlier_results, self._threads)

    async def begin(self, start: CallStart) -> Verdict:
        """Records an intent, if the call may be made."""
        return await self._begin(start)

    async def room(self, batch_id: UUID) -> Room | None:
        """What a batch with a cap may still spend; None if it is paused or has no cap."""
        return await self.in_thread(lambda: self._ledger.room(batch_id))

    async def record(self, *entries: Entry) -> bool:
        """Records entries of one job together; False if the job is no longer ours."""
        return await self._record(entries)

    async def claim(self, ask: Ask) -> Hand:
        """Takes those of the jobs that are queued and due, and others along; suspects are named, and not taken."""
        return await self._claim(ask)

    async def claim_suspect(self, job_id: UUID) -> Claim | None:
        """Takes a job that processes have died with, if it is still to be had."""
        return await self._claim_suspect(job_id)

    async def earlier_result(self, wanted: Wanted) -> Earlier | None:
        """The newest result of the same content, if there is one and it is not too old."""
        return await self._earlier(wanted)

    async def in_thread(self, function: Callable[[], Result]) -> Result:
        """Runs a function that blocks; a Vault that hangs must not hold up settlements, so these threads are others."""
        return await asyncio.get_running_loop().run_in_executor(self._asking, function)

    def close(self) -> None:
        """Ends the threads, after what they are doing."""
        self._threads.shutdown(wait=True)
        self._asking.shutdown(wait=True)

    def _record_jobs(self, groups: Sequence[Sequence[Entry]]) -> list[bool]:
        kept = iter(self._ledger.record([entry for group in groups for entry in group]))
        return [all([next(kept) for _ in group]) for group in groups]

    def _claim_asked(self, asks: Sequence[Ask]) -> list[Hand]:
        """One statement for several messages."""
        named = [job_id for ask in asks for job_id in ask.job_ids]
        next_jobs = Counter[UUID]()
        for wanted in (ask.next_jobs for ask in asks if ask.next_jobs):
            next_jobs[wanted.batch_id] += wanted.jobs
        along = Counter[str]()
        for ask in asks:
            along[ask.provider_id] += ask.along
        claims = self._ledger.claim(named, +along, next_jobs, suspects=False)
        suspects = self._suspects(set(named).difference(claim.job_id for claim in claims))
        return [
            Hand(hand, {job_id: suspects.pop(job_id) for job_id in ask.job_ids if job_id in suspects})
            for ask, hand in zip(asks, dealt(asks, claims), strict=True)
        ]

    def _suspects(self, not_taken: Collection[UUID]) -> dict[UUID, int]:
        """Asked where something was not to be had; unheard, its hint comes again."""
        try:
            return self._ledger.suspects(list(not_taken)) if not_taken else {}
        except ServiceUnavailableError:
            return {}

    def _claim_suspects(self, job_ids: Sequence[UUID]) -> list[Claim | None]:
        claims = {claim.job_id: claim for claim in self._ledger.claim(job_ids)}
        return [claims.pop(job_id, None) for job_id in job_ids]


def dealt(asks: Sequence[Ask], claims: Sequence[Claim]) -> list[list[Claim]]:
    """Which message gets which of the claims: those that it names or that are of its batch, then its provider's single.

    A job that two messages name goes to the first. Of its batch and of single jobs a message gets as many as it
    asks for.
    """
    left = {claim.job_id: claim for claim in claims}
    hands = [[left.pop(job_id) for job_id in ask.job_ids if job_id in left] for ask in asks]
    others: dict[UUID | str, list[Claim]] = {}
    for claim in left.values():
        others.setdefault(claim.batch_id or claim.provider_id, []).append(claim)
    kept = {batch_or_provider: iter(some) for batch_or_provider, some in others.items()}
    for ask, hand in zip(asks, hands, strict=True):
        if ask.next_jobs:
            hand += islice(kept.get(ask.next_jobs.batch_id, iter(())), ask.next_jobs.jobs)
        hand += islice(kept.get(ask.provider_id, iter(())), ask.along)
    return hands
