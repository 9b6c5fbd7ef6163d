"""The process' pen: groups what many jobs want written and keeps statements off the event loop."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from uuid import UUID

from jobs.records import CallStart, Claim, Entry
from jobs.work import WorkLedger
from worker.grouping import Grouped

Result = TypeVar("Result")
THREADS = 4
"""Threads, and so connections: intents, settlements, claims and everything else do not wait for each other."""


class LedgerBooks:
    """Writes to the ledger in groups; everything here waits while Postgres is away.

    Args:
        ledger: the worker's side of the ledger.
    """

    def __init__(self, ledger: WorkLedger) -> None:
        self._ledger = ledger
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="ledger")
        self._asking = ThreadPoolExecutor(THREADS, thread_name_prefix="asking")
        self._begin = Grouped[CallStart, bool](ledger.begin_calls, self._threads)
        self._record = Grouped[Sequence[Entry], bool](self._record_jobs, self._threads)
        self._claim = Grouped[Sequence[UUID], list[Claim]](self._claim_slices, self._threads, largest=16)

    async def begin(self, start: CallStart) -> bool:
        """Records an intent; False if the job is no longer ours."""
        return await self._begin(start)

    async def record(self, *entries: Entry) -> bool:
        """Records entries of one job together; False if the job is no longer ours."""
        return await self._record(entries)

    async def claim(self, job_ids: Sequence[UUID]) -> list[Claim]:
        """Takes those of the jobs that are queued and due."""
        return await self._claim(job_ids)

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

    def _claim_slices(self, slices: Sequence[Sequence[UUID]]) -> list[list[Claim]]:
        """One statement for several messages; a job named by two of them goes to the first."""
        claims = {claim.job_id: claim for claim in self._ledger.claim([job_id for ids in slices for job_id in ids])}
        return [[claims.pop(job_id) for job_id in ids if job_id in claims] for ids in slices]
