"""The circuit of a provider: real Valkey, and circuits that stand for processes of their own."""

import asyncio
import json
import logging
import socket
import threading
from collections.abc import AsyncIterator, Callable
from math import inf
from random import Random
from typing import Any

import pytest
import redis

from config.circuits import CircuitBoard
from config.errors import (
    CallError,
    ProviderRateLimitedError,
    ProviderServerError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from config.providers import builtin_providers
from config.redis_link import connect_redis
from config.registry import Entry
from tests.conftest import Stack
from worker.circuit import Circuits
from worker.circuit_exchange import CircuitAnswer, CircuitExchange, CircuitReport

GROQ = Entry(builtin_providers()["groq"], 7)
KEY = "ticketflow:circuit:groq"
SECONDS = 20.0
"""Longer than anything here takes; who waits for so long has failed."""

ILL = ProviderServerError("groq", "groq answered 503", 503)
SLOW = ProviderTimeoutError("groq", "groq gave no answer within 60 s")
SLOWER = ProviderRateLimitedError("groq", "groq answered 429", 429)


class Processes:
    """Makes circuits that share one Redis."""

    def __init__(self, url: str) -> None:
        self.url, self.made = url, list[Circuits]()
        self.client: redis.Redis = connect_redis(url)

    def start(self, url: str | None = None) -> Circuits:
        self.made.append(Circuits(self.exchange(url)))
        return self.made[-1]

    def exchange(self, url: str | None = None) -> CircuitExchange:
        url = url or self.url
        return CircuitExchange(connect_redis(url, 0.5), url, f"w{len(self.made)}")

    def edit(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Changes what is remembered, in place of time that passes."""
        state = json.loads(str(self.client.get(KEY)))
        change(state)
        self.client.set(KEY, json.dumps(state))

    def is_over(self) -> None:
        """The time is over for which the provider is left alone."""
        self.edit(lambda state: state.update(until_ms=1))

    @property
    def state(self) -> str:
        return CircuitBoard(self.client, self.url).states([("groq", 7)])["groq"]


@pytest.fixture
async def processes(stack: Stack) -> AsyncIterator[Processes]:
    processes = Processes(stack.settings.redis_url)
    yield processes
    for made in processes.made:
        await made.close()
    processes.client.close()


async def call(circuits: Circuits, error: CallError | None = None, entry: Entry = GROQ, forced: bool = False) -> str:
    """What came of one call that ends so, if it is made."""
    try:
        async with circuits.call(entry, forced=forced) as is_probe:
            if error:
                raise error
    except ProviderUnavailableError:
        return "none"
    except CallError:
        return "probe failed" if is_probe else "failed"
    return "probed" if is_probe else "made"


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - what is waited for is in Redis
            await asyncio.sleep(0.01)


async def fail(circuits: Circuits, processes: Processes, error: CallError = ILL, entry: Entry = GROQ) -> None:
    """Calls that fail until there are no more."""
    async with asyncio.timeout(SECONDS):
        while await call(circuits, error, entry) == "failed":  # noqa: ASYNC110 - what is waited for is in Redis
            await asyncio.sleep(0.01)
    processes.edit(lambda state: state.update(until_ms=2e15))  # however slow this machine is


async def until_called(circuits: Circuits, outcome: str) -> None:
    async with asyncio.timeout(SECONDS):
        while await call(circuits) != outcome:  # noqa: ASYNC110 - what is waited for is in Redis
            await asyncio.sleep(0.02)


def passes_the_check(circuits: Circuits) -> bool:
    try:
        circuits.check(GROQ)
    except ProviderUnavailableError:
        return False
    return True


def told(processes: Processes, calls: int, failed: int, **more: Any) -> CircuitAnswer:
    return processes.exchange()("groq", CircuitReport(7, calls, failed, **more))


def aged(processes: Processes) -> None:
    """What was counted moves into the past, by a quarter of a second."""
    processes.edit(lambda state: state.update(bucket=state["bucket"] - 1))


def silent(processes: Processes, span_ms: int) -> None:
    """Nothing was told for so long."""
    processes.edit(lambda state: state.update(bucket=1, heard=state["heard"] - span_ms))


@pytest.mark.parametrize(
    ("reports", "is_open"),
    [
        ([(10, 10), (10, 10), (1, 1)], True),
        ([(10, 10), (9, 9), (1, 1)], False),
        ([(500, 500)], False),
        ([(500, 500), (1, 1)], True),
        ([(500, 500), (10, 4)], False),
        ([(500, 500), (40, 0), (19, 19), (1, 1)], False),
        ([(1000, 0), (20, 20), (1, 1)], True),
        ([(100, 70), (1, 1)], True),
        ([(1000, 500), (1000, 500), (1000, 500)], False),
        ([(1000, 300), (24, 22), (1, 1)], True),
        ([(1, 1)] * 21, True),
        ([(1, 1), (1, 0)] * 50, False),
    ],
    ids=[
        "enough",
        "too few",
        "one moment alone",
        "a moment later",
        "it gets better",
        "it was better",
        "an outage, however well it went before",
        "seven of ten",
        "as many good ones",
        "a bad turn",
        "one at a time",
        "one and one",
    ],
)
def test_it_opens_when_more_calls_fail_than_end_well(
    stack: Stack, reports: list[tuple[int, int]], is_open: bool
) -> None:
    processes = Processes(stack.settings.redis_url)
    for report in reports[:-1]:
        assert not told(processes, *report).open
        aged(processes)
    assert told(processes, *reports[-1]).open is is_open
    assert processes.state == ("open" if is_open else "closed")
    processes.client.close()


def test_one_process_does_not_speak_for_all(stack: Stack) -> None:
    """It cannot reach the provider, alone; the others, whose calls are as many, can."""
    processes = Processes(stack.settings.redis_url)
    for _ in range(20):
        for report in ((30, 30), (15, 0), (15, 0)):
            assert not told(processes, *report).open
        aged(processes)
    told(processes, 60, 60)
    aged(processes)
    assert not told(processes, 15, 0).open
    processes.client.close()


@pytest.mark.parametrize(("share", "is_open"), [(0.25, False), (0.3, False), (0.7, True), (1.0, True)])
def test_what_fails_by_chance_does_not_open_it(stack: Stack, share: float, is_open: bool) -> None:
    """5,000 calls, as three processes tell of them."""
    processes, chance = Processes(stack.settings.redis_url), Random(f"circuit {share}")
    calls, outcome = 0, CircuitAnswer(open=False)
    while calls < 5000 and not outcome.open:
        told_now = chance.randint(1, 20)
        outcome = told(processes, told_now, sum(chance.random() < share for _ in range(told_now)))
        calls += told_now
        if chance.random() < 0.3:
            aged(processes)
    assert outcome.open is is_open
    assert calls < 300 or not is_open
    assert not is_open or outcome.failed / outcome.calls > 0.5, "what is said of it"
    processes.client.close()


def test_what_is_old_is_forgotten(stack: Stack) -> None:
    """As soon as no call has ended for longer than any takes."""
    processes = Processes(stack.settings.redis_url)
    told(processes, 50, 50)
    silent(processes, 71_000)
    assert not told(processes, 50, 50).open
    silent(processes, 60_000)
    assert told(processes, 1, 1).open
    processes.client.close()


async def test_calls_that_hang_while_a_429_holds_the_others_back_say_nothing(processes: Processes) -> None:
    """In a pause they alone still end: two of a hundred would look like an outage."""
    paused = [True]
    one = Circuits(processes.exchange(), lambda _: paused[0])
    processes.made.append(one)
    for _ in range(100):
        assert await call(one, SLOW) == "failed"
    assert one._circuits["groq"].calls == 0
    assert await call(one, ILL) == "failed"
    assert one._circuits["groq"].failed == 1
    paused[0] = False
    await fail(one, processes, SLOW)
    assert processes.state == "open"
    paused[0] = True
    processes.is_over()
    async with asyncio.timeout(SECONDS):
        while await call(one, SLOW) != "probe failed":  # noqa: ASYNC110 - what is waited for is in Redis
            await asyncio.sleep(0.02)
    await until(lambda: processes.state == "open")


def test_it_is_left_alone_for_longer_each_time(stack: Stack) -> None:
    processes = Processes(stack.settings.redis_url)
    told(processes, 50, 50)
    aged(processes)
    answer = told(processes, 50, 50)
    spans = [answer.wait_s]
    for _ in range(5):
        assert not told(processes, 0, 0, asks=True).yours, "not yet"
        processes.is_over()
        assert processes.state == "half-open"
        assert told(processes, 0, 0, asks=True).yours
        answer = told(processes, 0, 0, probe="ill")
        assert (answer.event, answer.yours) == ("still", False)
        spans.append(answer.wait_s)
    assert spans == [5, 10, 20, 40, 60, 60]
    processes.is_over()
    assert told(processes, 0, 0, asks=True).yours
    assert told(processes, 0, 0, probe="well").event == "closed"
    told(processes, 50, 50)
    aged(processes)
    assert told(processes, 50, 50).wait_s == 60, "it had only just recovered"
    processes.client.close()


def test_one_probe_in_the_whole_cluster_and_a_dead_prober_blocks_nobody(stack: Stack) -> None:
    processes = Processes(stack.settings.redis_url)
    told(processes, 50, 50)
    aged(processes)
    told(processes, 50, 50)
    processes.is_over()
    asked = [processes.exchange()("groq", CircuitReport(7, asks=True)) for _ in range(5)]
    assert [answer.yours for answer in asked] == [True, False, False, False, False]
    assert all(answer.probing for answer in asked)
    processes.edit(lambda state: state["probe"].update(until_ms=1, process="dead"))
    assert told(processes, 0, 0, probe="ill").event is None, "of a probe that is somebody else's"
    assert told(processes, 0, 0, asks=True).yours
    assert told(processes, 0, 0, probe="none").open
    assert told(processes, 0, 0, asks=True).yours, "a probe that came to nothing is given back"
    processes.client.close()


async def test_all_processes_leave_it_alone_and_one_probe_brings_them_back(
    processes: Processes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "worker.circuit")
    one, two = processes.start(), processes.start()
    assert await call(two) == "made"
    await fail(one, processes)
    assert processes.state == "open"
    await until_called(two, "none")
    with pytest.raises(ProviderUnavailableError) as alone:
        async with one.call(GROQ):
            raise AssertionError
    assert (alone.value.retry_after_s or 0) > 0
    assert str(alone.value).startswith("groq keeps failing and is left alone for ")
    async with asyncio.timeout(SECONDS):
        while passes_the_check(one):  # it believes what it heard within a second
            assert await call(one) == "none"
    processes.is_over()
    await until_called(two, "probed")
    await until_called(one, "made")
    assert processes.state == "closed"
    await until(lambda: "it works again" in caplog.text)  # another process may hear it before the prober says it
    words = " ".join(record.getMessage() for record in caplog.records)
    for part in ("calls failed; it is left alone for 5 s", "one call tries it", "it works again"):
        assert words.count(part) == 1, words


async def test_while_one_probes_the_others_wait(processes: Processes) -> None:
    one, two = processes.start(), processes.start()
    await fail(one, processes)
    processes.is_over()

    async def hang() -> None:
        async with one.call(GROQ) as is_probe:
            assert is_probe
            await asyncio.sleep(SECONDS)

    async with asyncio.timeout(SECONDS):
        while True:
            probe = asyncio.create_task(hang())
            await asyncio.wait([probe], timeout=0.2)
            if not probe.done():
                break
    outcomes = await asyncio.gather(*(call(circuits) for circuits in (one, two) for _ in range(50)))
    assert set(outcomes) == {"none"}
    probe.cancel()  # its job was cancelled
    await until_called(two, "probed")


async def test_a_probe_that_nobody_makes_any_more_is_given_back(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its job was cancelled while it asked."""
    one, two = processes.start(), processes.start()
    await fail(one, processes)
    processes.is_over()
    one._circuits["groq"].probe_from = 0.0
    exchange, asked, may_answer = one._exchange, threading.Event(), threading.Event()

    def slow(provider_id: str, report: CircuitReport) -> CircuitAnswer:
        if not report.asks:
            return exchange(provider_id, report)
        answer = exchange(provider_id, report)
        asked.set()
        assert may_answer.wait(SECONDS)
        return answer

    monkeypatch.setattr(one, "_exchange", slow)
    asking = asyncio.create_task(call(one))
    await until(asked.is_set)
    asking.cancel()
    assert (await asyncio.gather(asking, return_exceptions=True))[0].__class__ is asyncio.CancelledError
    assert await call(two) == "none"
    may_answer.set()
    await until_called(two, "probed")


async def test_429_and_other_words_of_ours_do_not_open_it(processes: Processes) -> None:
    one = processes.start()
    for _ in range(3):
        assert {await call(one, SLOWER) for _ in range(50)} == {"failed"}
        await until(lambda: "heard" in str(processes.client.get(KEY)))
        aged(processes)
    assert await call(one) == "made"
    assert processes.state == "closed"


async def test_a_changed_provider_begins_anew(processes: Processes) -> None:
    one = processes.start()
    await fail(one, processes)
    newer = Entry(GROQ.provider, 8)
    assert await call(one, entry=newer) == "made"
    await until(lambda: json.loads(str(processes.client.get(KEY)))["generation"] == 8)
    assert not processes.exchange()("groq", CircuitReport(7, 100, 100)).open, "the word of those who are behind is void"
    assert json.loads(str(processes.client.get(KEY)))["generation"] == 8
    assert CircuitBoard(processes.client, processes.url).states([("groq", 8)]) == {"groq": "closed"}


async def test_a_check_is_made_in_any_case_and_closes_it(processes: Processes) -> None:
    one = processes.start()
    await fail(one, processes)
    assert await call(one, ILL, forced=True) == "failed"
    assert processes.state == "open"
    assert await call(one, forced=True) == "made"
    await until(lambda: processes.state == "closed")
    await until_called(one, "made")


async def test_without_redis_calls_go_on(processes: Processes) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        one = processes.start(f"redis://127.0.0.1:{nobody.getsockname()[1]}/0")
        outcomes = [await call(one, ILL) for _ in range(100)]
    assert set(outcomes) == {"failed"}


async def test_a_redis_that_goes_leaves_what_was_heard_last(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = processes.start()
    await fail(one, processes)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setattr(one, "_exchange", processes.exchange(f"redis://127.0.0.1:{nobody.getsockname()[1]}/0"))
        one._circuits["groq"].probe_from = inf
        assert await call(one) == "none"
        one._circuits["groq"].probe_from = 0.0
        assert await call(one) == "made"


def test_what_is_no_circuit_is_shown_as_closed(stack: Stack) -> None:
    client = connect_redis(stack.settings.redis_url)
    board = CircuitBoard(client, stack.settings.redis_url)
    for text in ("nonsense", "[]", "{}", '{"generation": 7, "until_ms": "soon"}', '{"generation": 6, "until_ms": 1}'):
        client.set(KEY, text)
        assert board.states([("groq", 7), ("openai", 1)]) == {"groq": "closed", "openai": "closed"}
    assert board.states([]) == {}
    client.close()
