"""A provider that keeps failing is left alone for a while, by all processes: see docs/decisions/0007-circuit.md."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import inf
from types import TracebackType

from config.errors import (
    CallError,
    ProviderConnectionError,
    ProviderServerError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    ServiceUnavailableError,
)
from config.registry import Entry
from worker.circuit_exchange import CircuitAnswer, CircuitReport

log = logging.getLogger(__name__)

TELL_S = 0.2
"""How calls ended is told so much later: one exchange for hundreds of them."""

FRESH_S = 1.0
"""What was heard is believed for so long."""

AWAY_S = 3.0
"""Redis is asked again after so long."""

PROBE_WAIT_S = 2.0
"""Who finds a probe under way looks again after so long."""

CALL_MARGIN_S = 10.0
"""A call may take so much longer than the provider's deadline: a probe's intent is written first."""


def is_ill(error: CallError) -> bool:
    """Whether an error says that the provider is unwell; 4xx are about us, a 429 has its own pause."""
    if isinstance(error, ProviderServerError):
        return error.status is None or error.status >= 500
    return isinstance(error, ProviderTimeoutError | ProviderConnectionError)


def _never(_: str) -> bool:
    return False


@dataclass(eq=False)
class _Circuit:
    """What this process knows of one provider, and has not told yet."""

    entry: Entry
    calls: int = 0
    failed: int = 0
    heard: float = -inf
    is_open: bool = False
    probe_from: float = 0.0
    asking: bool = False
    timer: asyncio.TimerHandle | None = None
    exchanges: set["asyncio.Task[CircuitAnswer | None]"] = field(default_factory=set)


class Circuits:
    """The circuits of all providers, as one process sees them.

    A call costs a look into a dictionary and two counters; what there is to tell goes out five times a second, and with
    it comes what the others know. Redis away: what was heard last holds until its time is over, then calls go on.

    Args:
        exchange: tells and asks Redis; blocks.
        is_paused: whether a 429 holds calls to a provider back.
    """

    def __init__(
        self,
        exchange: Callable[[str, CircuitReport], CircuitAnswer],
        is_paused: Callable[[str], bool] = _never,
    ) -> None:
        self._exchange, self._is_paused = exchange, is_paused
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="circuits")  # one: answers come in order
        self._circuits: dict[str, _Circuit] = {}
        self._away_until = 0.0

    def check(self, entry: Entry) -> None:
        """By what this process knows; cheap, for jobs that would otherwise wait for their turn.

        What is to be heard before the call is asked for already, so that it is here when its turn has come.

        Raises:
            ProviderUnavailableError: the provider is left alone.
        """
        circuit = self._circuit(entry)
        now = time.monotonic()
        if now - circuit.heard > FRESH_S and not circuit.exchanges and not self._is_away():
            self._tell(circuit)
        if circuit.is_open and now < circuit.probe_from and now - circuit.heard < FRESH_S:
            raise self._unavailable(circuit)

    def call(self, entry: Entry, *, forced: bool = False) -> "_Call":
        """Around one call; entering it says whether it is the probe of a provider that was left alone.

        Args:
            entry: the provider as it is called.
            forced: somebody wants to know; the call is made in any case, and what comes of it counts.

        Raises:
            ProviderUnavailableError: on entering; the provider is left alone, and no call is to be made.
        """
        return _Call(self, entry, forced)

    async def enter(self, entry: Entry, forced: bool) -> tuple[_Circuit, bool]:
        """The circuit of a call that may be made now, and whether that is a probe; see ``call``."""
        circuit = self._circuit(entry)
        return circuit, await self._admitted(circuit, forced)

    def leave(
        self, circuit: _Circuit, entry: Entry, error: BaseException | None, *, is_probe: bool, forced: bool
    ) -> None:
        """Such a call is over; ``error`` is what it ended with."""
        outcome = self._outcome(entry, error, is_probe)
        if is_probe or (forced and outcome == "well"):
            self._tell(circuit, outcome)
        elif outcome != "none":
            self._count(circuit, outcome == "ill")

    def _outcome(self, entry: Entry, error: BaseException | None, is_probe: bool) -> str:
        """What an end says. In a pause nothing new begins; in the end those calls alone end that hang."""
        if error is None:
            return "well"
        if not isinstance(error, CallError):
            return "none"
        if not is_ill(error):
            return "well"
        hangs = isinstance(error, ProviderTimeoutError)
        return "none" if hangs and not is_probe and self._is_paused(entry.provider.id) else "ill"

    async def close(self) -> None:
        """Ends the exchanges."""
        for circuit in self._circuits.values():
            if circuit.timer:
                circuit.timer.cancel()
            if circuit.exchanges:
                await asyncio.wait(circuit.exchanges, timeout=1)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _circuit(self, entry: Entry) -> _Circuit:
        """What is known of a provider; a changed one begins anew."""
        circuit = self._circuits.get(entry.provider.id)
        if circuit is None:
            circuit = self._circuits[entry.provider.id] = _Circuit(entry)
        elif circuit.entry.generation < entry.generation:  # nobody can know anything of it yet
            circuit = self._circuits[entry.provider.id] = _Circuit(entry, heard=time.monotonic())
        return circuit

    async def _admitted(self, circuit: _Circuit, forced: bool) -> bool:
        if forced:
            return False
        if time.monotonic() - circuit.heard > FRESH_S and not self._is_away():
            await self._shared(circuit)
        if not circuit.is_open:
            return False
        now = time.monotonic()
        if now < circuit.probe_from or circuit.asking:
            raise self._unavailable(circuit)
        if self._is_away():
            circuit.is_open = False
            return False
        answer = await self._asked(circuit)
        if answer is None or not answer.open:
            return False
        if not answer.yours:
            raise self._unavailable(circuit)
        return True

    async def _asked(self, circuit: _Circuit) -> CircuitAnswer | None:
        """Asks for the probe; one that is given to a job which was cancelled meanwhile is given back."""
        circuit.asking = True
        task = self._begun(circuit, self._told(circuit, asks=True))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(lambda done: self._tell(circuit, "none") if _is_given(done) else None)
            raise
        finally:
            circuit.asking = False

    def _unavailable(self, circuit: _Circuit) -> ProviderUnavailableError:
        provider_id = circuit.entry.provider.id
        wait_s = max(0.0, circuit.probe_from - time.monotonic()) or PROBE_WAIT_S
        words = f"{provider_id} keeps failing and is left alone for {wait_s:.1f} s more: no call was made"
        return ProviderUnavailableError(provider_id, words, None, wait_s)

    def _count(self, circuit: _Circuit, failed: bool) -> None:
        circuit.calls += 1
        circuit.failed += failed
        if circuit.timer is None:
            circuit.timer = asyncio.get_running_loop().call_later(TELL_S, self._tell, circuit)

    def _tell(self, circuit: _Circuit, probe: str | None = None) -> "asyncio.Task[CircuitAnswer | None]":
        if probe is None:
            circuit.timer = None
        return self._begun(circuit, self._told(circuit, probe))

    def _begun(
        self, circuit: _Circuit, exchange: Coroutine[None, None, CircuitAnswer | None]
    ) -> "asyncio.Task[CircuitAnswer | None]":
        task = asyncio.create_task(exchange, name=f"circuit-{circuit.entry.provider.id}")
        circuit.exchanges.add(task)
        task.add_done_callback(circuit.exchanges.discard)
        return task

    async def _shared(self, circuit: _Circuit) -> None:
        """One exchange for all who would know."""
        running = next(iter(circuit.exchanges), None) or self._tell(circuit)
        await asyncio.shield(running)

    async def _told(self, circuit: _Circuit, probe: str | None = None, *, asks: bool = False) -> CircuitAnswer | None:
        """One exchange; None if Redis is away. What was counted meanwhile is then dropped: it would soon be old."""
        calls, failed, circuit.calls, circuit.failed = circuit.calls, circuit.failed, 0, 0
        if self._is_away():
            return None
        provider_id = circuit.entry.provider.id
        call_ms = round((circuit.entry.provider.timeout_s + CALL_MARGIN_S) * 1000)
        report = CircuitReport(circuit.entry.generation, calls, failed, probe, asks, call_ms)
        try:
            answer = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._exchange, provider_id, report
            )
        except ServiceUnavailableError as error:
            self._away_until = time.monotonic() + AWAY_S
            log.warning("circuits of providers are not shared for now: %s", error)
            return None
        circuit.heard, circuit.is_open = time.monotonic(), answer.open
        circuit.probe_from = circuit.heard + (PROBE_WAIT_S if answer.probing else answer.wait_s)
        _say(provider_id, answer)
        return answer

    def _is_away(self) -> bool:
        return time.monotonic() < self._away_until


class _Call:
    """A call inside its circuit.

    Args:
        circuits: say whether it may be made, and hear how it ended.
        entry: the provider as it is called.
        forced: it is made in any case.
    """

    def __init__(self, circuits: Circuits, entry: Entry, forced: bool) -> None:
        self._circuits, self._entry, self._forced = circuits, entry, forced

    async def __aenter__(self) -> bool:
        self._circuit, self._is_probe = await self._circuits.enter(self._entry, self._forced)
        return self._is_probe

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._circuits.leave(self._circuit, self._entry, error, is_probe=self._is_probe, forced=self._forced)


def _is_given(exchange: "asyncio.Task[CircuitAnswer | None]") -> bool:
    answer = None if exchange.cancelled() else exchange.result()
    return answer is not None and answer.yours


def _say(provider_id: str, answer: CircuitAnswer) -> None:
    """For people, in the log of the process that brought it about."""
    if answer.event == "opened":
        words = "%s: %d of %d calls failed; it is left alone for %.0f s"
        log.warning(words, provider_id, answer.failed, answer.calls, answer.wait_s)
    elif answer.event == "still":
        log.warning("%s: still failing; it is left alone for %.0f s", provider_id, answer.wait_s)
    elif answer.event == "probing":
        log.info("%s: one call tries it", provider_id)
    elif answer.event == "closed":
        log.warning("%s: it works again", provider_id)
