"""Calls wait here for the limits of their provider, which hold for all worker processes together."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from config.errors import CallError, ProviderRateLimitedError
from config.providers import Limits
from config.redis_names import INTERACTIVE_QUEUE
from jobs.chat import ChatRequest, Usage
from jobs.estimate import input_tokens
from worker.limits.exchange import Answer, Report
from worker.limits.headers import pause_s
from worker.limits.line import Counters, Line, Waiter
from worker.limits.rules import Experience, is_limited
from worker.progress import Progress, YieldError

LATE_S = 0.5
"""A call that is not made so soon after its turn needs another one. The script allows for a second between the turn and
the provider: half of it for us, half for the network. See docs/decisions/0006-limits-for-the-cluster.md."""


class Place:
    """A call's place among those to one provider; it is entered when its turn has come.

    A single job asks for its turn and enters at once where nobody waits: the turn comes while the intent is written.
    Whoever enters has to let it ``come`` before the call is made.

    Args:
        limiter: gives the line to wait in, and hears what came of the call.
        progress: of its job.
        request: what is asked.
    """

    def __init__(self, limiter: "Limiter", progress: Progress, request: ChatRequest) -> None:
        self._limiter, self._progress, self._request = limiter, progress, request
        self._provider_id = progress.provider_id
        self._line: Line | None = None
        self._waiter: Waiter | None = None
        self._coming: Waiter | None = None
        self.used: Usage | None = None
        """What the provider counted, once there is an answer."""
        self.headers: Mapping[str, str] = {}
        """Of the answer, once there is one."""

    async def __aenter__(self) -> Self:
        self._line = self._limiter.line_to(self._provider_id)
        soon = self._line is not None and self._line.is_free and self._progress.claim.queue == INTERACTIVE_QUEUE
        self._ask()
        if not soon:
            await self.come()
        self._limiter.calls[self._provider_id] += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._coming is not None and self._line is not None:
            self._line.drop(self._coming)
        if isinstance(error, ProviderRateLimitedError):
            self._limiter.hold(self._provider_id, error.retry_after_s)
        elif isinstance(error, CallError):
            self.used = Usage(error.input_tokens, error.output_tokens)
        self._limiter.ease(self._provider_id, self.headers, self.used)
        self._limiter.calls[self._provider_id] -= 1
        self._release(self.used or None)

    @property
    def late(self) -> bool:
        """Whether its turn has passed."""
        return self._waiter is not None and time.monotonic() - self._waiter.due > LATE_S

    async def punctual(self) -> None:
        """Waits for another turn if this one has passed: the process was busy, or Postgres away.

        Raises:
            YieldError: it is further off than the job's slice may last.
        """
        if self.late:
            self._leave(0)
            self._ask()
            await self.come()

    async def come(self) -> None:
        """Waits for the turn that was asked for.

        Raises:
            YieldError: it is further off than the job's slice may last.
        """
        waiter, self._coming = self._coming, None
        if waiter is not None and self._line is not None:
            await self._line.given(waiter)
            self._waiter = waiter

    def _ask(self) -> None:
        if self._line is None:
            return
        claim = self._progress.claim
        kind = self._line.experience.setdefault(claim.kind, Experience())
        self._guessed, self._kind = input_tokens(self._request), kind
        # What follows a paid answer, a repair, goes first as well: waiting for long, it would be paid for again.
        urgent = claim.queue == INTERACTIVE_QUEUE or bool(self._progress.usage)
        self._coming = self._line.ask(self._estimate, self._progress.deadline, urgent=urgent)

    def _estimate(self) -> int:
        return self._kind.estimate(self._guessed, self._request.max_output_tokens)

    def _release(self, used: Usage | None) -> None:
        """The call is over."""
        if self._waiter is None:
            return
        if used is not None:
            self._kind.learn(self._guessed, used)
        self._leave(None if used is None else used.input_tokens + used.output_tokens)

    def _leave(self, used_tokens: int | None) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and self._line is not None:
            self._line.leave(waiter, used_tokens)


class Limiter:
    """All limits of this process.

    A provider without limits costs a look into a dictionary; one with limits, a part of an exchange with Redis that all
    jobs share which wait at the moment.

    Args:
        limits_of: the limits of a provider as they are now.
        exchange: tells and asks Redis; blocks.
        lease_s: what is held is told anew three times in this span.
    """

    def __init__(
        self, limits_of: Callable[[str], Limits], exchange: Callable[[str, Report], Answer], lease_s: float
    ) -> None:
        self._limits_of, self._exchange, self._lease_s = limits_of, exchange, lease_s
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="limits")
        self._lines: dict[str, Line] = {}
        self._draining = False
        self.calls = Counter[str]()
        """In flight, by provider."""
        self.counters = Counters()

    def place(self, progress: Progress, request: ChatRequest) -> Place:
        """A call's place, entered when its turn has come; a 429 inside stops all calls to the provider for a while.

        Raises:
            YieldError: on entering; its turn is too far off, or the worker stops.
        """
        return Place(self, progress, request)

    def line_to(self, provider_id: str) -> Line | None:
        """Where calls to a provider wait now; None where nothing limits it.

        Raises:
            YieldError: the worker stops.
        """
        if self._draining:
            raise YieldError
        if is_limited(self._limits_of(provider_id)):
            return self._line(provider_id)
        line = self._lines.get(provider_id)
        return line if line and line.holds else None

    def hold(self, provider_id: str, seconds: float | None) -> None:
        """A provider wants no call for a while."""
        self._line(provider_id).hold(seconds)

    def ease(self, provider_id: str, headers: Mapping[str, str], used: Usage | None) -> None:
        """Limits are lowered, never raised, by what the provider's headers say."""
        tokens = used.input_tokens + used.output_tokens if used else 0
        seconds = pause_s(headers, self.calls[provider_id], tokens)
        if seconds:
            self._line(provider_id).ease(seconds)

    def is_paused(self, provider_id: str) -> bool:
        """Whether a provider has asked for a pause that is not over."""
        line = self._lines.get(provider_id)
        return line is not None and line.is_paused

    def drain(self) -> None:
        """Nobody waits any more."""
        self._draining = True
        for line in self._lines.values():
            line.stop()

    def refresh(self) -> None:
        """Limits may have changed: whoever waits asks anew."""
        for line in self._lines.values():
            line.refresh()

    async def close(self) -> None:
        """Ends the exchanges."""
        for line in self._lines.values():
            await line.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _line(self, provider_id: str) -> Line:
        line = self._lines.get(provider_id)
        if line is None:
            line = self._lines[provider_id] = Line(
                provider_id,
                self._exchange,
                lambda: self._limits_of(provider_id),
                self._threads,
                self.counters,
                self._lease_s,
            )
        return line
