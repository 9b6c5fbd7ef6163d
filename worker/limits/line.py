"""The jobs of this process that wait for one provider's limits, and the exchanges that give them their turns."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from math import inf

from config.errors import ServiceUnavailableError
from config.providers import Limits
from worker.limits.exchange import Answer, Report, Turn
from worker.limits.rules import LEARNING_WEIGHT, Experience, bulk_turns, expected_wait_s, release_wait_s
from worker.limits.share import Share
from worker.progress import YieldError

log = logging.getLogger(__name__)

GATHER_S = 0.02
"""Pause between exchanges: what comes meanwhile goes together."""

TELL_S = 0.2
"""What calls have used is told so much later at the latest."""

LOOK_S = 0.5
"""How often those who wait are looked through for some whose turn will be too late."""

AWAY_S = 3.0
"""Redis is asked again after so long."""

EXCHANGE_TIMEOUT_S = 0.5
"""A Redis that is slower than this is away: jobs wait for every exchange."""

DEFAULT_HOLD_S = 1.0
LONGEST_HOLD_S = 600.0


@dataclass
class Counters:
    """What limits have done in this process since it started.

    Args:
        waited: calls that waited for their turn.
        sent_away: jobs that went back to the queue because their turn was too far off.
        held_off: 429 of providers, each of which stopped all calls to it for a while.
        eased_off: answers whose headers said that little is left; likewise.
        without_redis: exchanges that this process had to answer for itself.
    """

    waited: int = 0
    sent_away: int = 0
    held_off: int = 0
    eased_off: int = 0
    without_redis: int = 0


@dataclass(eq=False)
class Waiter:
    """One job in line; its future is done when its turn has come.

    Args:
        estimate: tokens to reserve for its call, by what is known now; more is learned while it waits.
        deadline: ``time.monotonic()`` after which it does not wait.
        at_ms: when the call may be made, by Redis' clock; None if Redis was away.
        due: the same by this process'.
    """

    estimate: Callable[[], int]
    deadline: float
    tokens: int = 0
    future: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    given: bool = False
    at_ms: int | None = None
    due: float = 0.0

    def estimated(self) -> int:
        """The tokens that are asked for now."""
        self.tokens = self.estimate()
        return self.tokens


class Line:
    """Where jobs wait for one provider's limits.

    Args:
        exchange: tells and asks Redis; blocks.
        limits: of the provider, as they are now.
        threads: where exchanges run.
        counters: of the process.
        lease_s: what is held is told anew three times in this span.
        name: the provider's id, for the log.
    """

    def __init__(
        self,
        name: str,
        exchange: Callable[[str, Report], Answer],
        limits: Callable[[], Limits],
        threads: Executor,
        counters: Counters,
        lease_s: float,
    ) -> None:
        self._name, self._exchange, self._limits, self._threads = name, exchange, limits, threads
        self._counters, self._lease_s, self._share = counters, lease_s, Share()
        self._urgent: list[Waiter] = []
        self._bulk: list[Waiter] = []
        self._pending: set[Waiter] = set()
        self._settled: list[tuple[int, int]] = []
        self._held, self._processes = 0, 0
        self._call_s, self._call_tokens = 0.0, 0.0  # until the first has ended, a wait is not known to be long
        self._hold_until, self._hold_untold = 0.0, False
        self._due, self._away_until, self._looked, self._scarce = inf, 0.0, 0.0, False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.experience: dict[str, Experience] = {}

    def ask(self, estimate: Callable[[], int], deadline: float, *, urgent: bool) -> Waiter:
        """Asks for a turn; ``given`` waits for it, or ``drop`` does without.

        Raises:
            YieldError: it is too far off.
        """
        waiter = Waiter(estimate, deadline, estimate())
        queue = self._urgent if urgent else self._bulk
        if not urgent:
            self._check_worth(len(queue), waiter)
        queue.append(waiter)
        self._pending.add(waiter)
        if urgent or len(queue) == 1:
            self._call_for(0.0)
        return waiter

    async def given(self, waiter: Waiter) -> None:
        """Waits for a turn that was asked for.

        Raises:
            YieldError: it is too far off, or the worker stops.
        """
        try:
            await waiter.future
        except BaseException:
            self.drop(waiter)
            raise
        self._pending.discard(waiter)

    def drop(self, waiter: Waiter) -> None:
        """Nobody waits for this turn any more, and no call is made."""
        self._pending.discard(waiter)
        if not waiter.future.cancel() and not waiter.future.cancelled():
            waiter.future.exception()  # if it was sent away nobody has to hear
        if waiter.given:
            self.leave(waiter, 0)

    def leave(self, waiter: Waiter, used_tokens: int | None) -> None:
        """The call is over, or was not made.

        Args:
            waiter: whose turn it was.
            used_tokens: what the provider counted; None if it did not say, and what was reserved stands.
        """
        self._held -= 1
        now = time.monotonic()
        self._call_s += LEARNING_WEIGHT * (max(0.0, now - waiter.due) - self._call_s)
        limits = self._limits()
        if used_tokens:
            self._call_tokens += (LEARNING_WEIGHT if self._call_tokens else 1) * (used_tokens - self._call_tokens)
        if used_tokens is not None and waiter.at_ms is not None and limits.tokens_per_minute:
            self._settled.append((waiter.at_ms, used_tokens - waiter.tokens))
            self._call_for(TELL_S)
        if limits.calls_in_flight:
            self._call_for(0.0 if self._scarce else TELL_S)

    def hold(self, seconds: float | None) -> None:
        """The provider wants no call for a while, by its own word (429)."""
        self._counters.held_off += 1
        self._hold_until = time.monotonic() + min(DEFAULT_HOLD_S if seconds is None else seconds, LONGEST_HOLD_S)
        self._hold_untold = True
        self._call_for(0.0)

    def ease(self, seconds: float) -> None:
        """No call for a while, since little is left of what the provider allows, by the headers of an answer."""
        until = time.monotonic() + min(seconds, LONGEST_HOLD_S)
        if until > self._hold_until + GATHER_S:
            self._counters.eased_off += 1
            self._hold_until, self._hold_untold = until, True
            self._call_for(0.0)

    @property
    def holds(self) -> bool:
        """Whether the provider has asked for a pause that is not over, or somebody still waits for its end."""
        return bool(self._pending) or self.is_paused

    @property
    def is_free(self) -> bool:
        """Whether a turn is likely to come at once: nobody waits, and nothing was scarce at the last exchange."""
        return not (self._pending or self._scarce or self.is_paused) and time.monotonic() >= self._away_until

    @property
    def is_paused(self) -> bool:
        """Whether that pause is not over."""
        return self._hold_until > time.monotonic()

    def refresh(self) -> None:
        """Whoever waits asks anew."""
        if self._urgent or self._bulk:
            self._call_for(0.0)

    def stop(self) -> None:
        """Whoever waits goes back to the queue at once."""
        for waiter in self._pending:
            if not waiter.future.done():
                waiter.future.set_exception(YieldError())

    async def close(self) -> None:
        """Ends the exchanges."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _expected_s(self, ahead: int) -> float:
        return expected_wait_s(ahead, self._call_tokens, self._call_s, self._limits(), max(1, self._processes))

    def _check_worth(self, ahead: int, waiter: Waiter) -> None:
        wait_s = self._expected_s(ahead)
        if time.monotonic() + wait_s > waiter.deadline:
            raise self._sent_away(wait_s)

    def _sent_away(self, wait_s: float) -> YieldError:
        self._counters.sent_away += 1
        return YieldError(release_wait_s(wait_s, random.random()))  # noqa: S311 - jitter, no secret

    def _call_for(self, seconds: float) -> None:
        """Has an exchange take place within so many seconds."""
        due = time.monotonic() + seconds
        if due < self._due:
            self._due = due
            self._wake.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name=f"limits-{self._name}")

    async def _run(self) -> None:
        while self._due < inf:
            wait_s = min(self._due, self._first_deadline()) - time.monotonic()
            if wait_s > 0:
                self._wake.clear()
                try:
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()
                except TimeoutError:
                    self._send_away_late()
                continue
            self._due = inf
            await self._exchanged()
            await asyncio.sleep(GATHER_S)

    def _first_deadline(self) -> float:
        return min((waiter.deadline for waiter in (*self._urgent[:1], *self._bulk[:1])), default=inf)

    def _send_away_late(self) -> None:
        """Those whose time is up, and those whose turn will be too late: they need not be waited for."""
        now = self._looked = time.monotonic()
        for queue in (self._urgent, self._bulk):
            stay: list[Waiter] = []
            for waiter in queue:
                wait_s = self._expected_s(len(stay))
                late = now >= waiter.deadline or (queue is self._bulk and now + wait_s > waiter.deadline)
                if late and not waiter.future.done():
                    waiter.future.set_exception(self._sent_away(wait_s))
                elif not waiter.future.done():
                    stay.append(waiter)
            queue[:] = stay

    async def _exchanged(self) -> None:
        """One exchange: everything that is to be told and asked now."""
        now = time.monotonic()
        urgent, self._urgent = [w for w in self._urgent if not w.future.done()], []
        bulk, self._bulk = [w for w in self._bulk if not w.future.done()], []
        asks = [w.estimated() for w in bulk[: bulk_turns(self._limits())]]
        settled, self._settled = self._settled, []
        hold_ms = round(max(0.0, self._hold_until - now) * 1000) if self._hold_untold else 0
        self._hold_untold = False
        longest_ms = [(w.estimated(), max(0, round((w.deadline - now) * 1000))) for w in urgent]
        report = Report(self._limits(), self._held, self._processes, settled, hold_ms, longest_ms, asks)
        answer = await self._answer(report)
        self._processes = answer.processes
        self._hold_until = max(self._hold_until, time.monotonic() + answer.hold_ms / 1000)
        self._urgent[:0] = self._tell_urgent(urgent, answer)
        self._bulk[:0] = bulk[len(answer.bulk) :]
        for waiter, wait_ms in zip(bulk, answer.bulk, strict=False):
            self._give(waiter, wait_ms, answer)
        if time.monotonic() > self._looked + LOOK_S:
            self._send_away_late()
        self._plan(answer, report.limits)

    async def _answer(self, report: Report) -> Answer:
        now = time.monotonic()
        if now >= self._away_until:
            try:
                answer = await asyncio.get_running_loop().run_in_executor(
                    self._threads, self._exchange, self._name, report
                )
            except ServiceUnavailableError as error:
                if not self._away_until:
                    log.warning("%s: this process keeps to its share of the limits: %s", self._name, error)
                now = time.monotonic()
                self._away_until = now + AWAY_S
            else:
                if self._away_until:
                    log.warning("%s: limits are shared again", self._name)
                self._away_until = 0.0
                return answer
        self._counters.without_redis += 1
        self._hold_untold = self._hold_untold or report.hold_ms > 0
        return self._share.answer(report, round(now * 1000))

    def _tell_urgent(self, asked: Sequence[Waiter], answer: Answer) -> list[Waiter]:
        """Those who have to ask again."""
        again = []
        turns: Sequence[Turn | None] = answer.interactive
        for waiter, turn in zip(asked, turns, strict=True):
            if turn is None:
                again.append(waiter)
            elif turn.given:
                self._give(waiter, turn.wait_ms, answer)
            elif not waiter.future.done():
                waiter.future.set_exception(self._sent_away(turn.wait_ms / 1000))
        return again

    def _give(self, waiter: Waiter, wait_ms: int, answer: Answer) -> None:
        """Waits count from the script's run; the answer came later, so that a call is made late rather than early."""
        if waiter.future.done():
            return
        waiter.given = True
        waiter.at_ms = None if answer.now_ms is None else answer.now_ms + wait_ms
        waiter.due = time.monotonic() + wait_ms / 1000
        self._held += 1
        if wait_ms > 0:
            self._counters.waited += 1
            asyncio.get_running_loop().call_at(waiter.due, self._come, waiter)
        else:
            self._come(waiter)

    def _come(self, waiter: Waiter) -> None:
        """Its turn has come, unless the provider has asked for a pause since it was given."""
        if waiter.future.done():
            return
        if self._hold_until > time.monotonic() + 0.001 and waiter.due < self._hold_until:
            waiter.given = False
            self._held -= 1
            self._urgent.insert(0, waiter)
            self._call_for(0.0)
        else:
            waiter.future.set_result(None)

    def _plan(self, answer: Answer, limits: Limits) -> None:
        """When the next exchange is due."""
        self._scarce = answer.scarce
        if answer.again_ms is not None:
            self._call_for(answer.again_ms / 1000)
        elif self._urgent or self._bulk:
            self._call_for(GATHER_S)
        if self._held and limits.calls_in_flight:
            self._call_for(self._lease_s / 3)
