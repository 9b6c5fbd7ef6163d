"""Waiting for limits inside of a process: real Valkey, real time, two limiters that stand for two processes."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest
import redis

from config.errors import ProviderRateLimitedError
from config.providers import Limits
from config.redis_link import connect_redis
from jobs.chat import ChatRequest, Message, Usage
from jobs.records import Claim
from tests.conftest import Stack
from worker import limiter as limiter_module
from worker.limiter import Limiter
from worker.limits.exchange import Answer, LimitExchange, Report
from worker.progress import Progress, YieldError

REQUEST = ChatRequest((Message("user", "x" * 30),), max_output_tokens=100)
LEASE_S = 3.0
SECONDS = 20.0
"""Longer than anything here takes; who waits for so long has failed."""


def job(queue: str = "bulk", budget_s: float = SECONDS) -> Progress:
    claim = Claim(uuid4(), None, "complete", "p", None, queue, "{}", 1, 0)
    return Progress(claim, time.monotonic() + budget_s, 0)


class Processes:
    """Makes limiters that share one Redis; ``limits`` may be changed at any time."""

    def __init__(self, url: str) -> None:
        self.limits, self._url = Limits(), url
        self.client: redis.Redis = connect_redis(url)
        self.limiters: list[Limiter] = []

    def start(self, url: str | None = None) -> Limiter:
        url = url or self._url
        exchange = LimitExchange(connect_redis(url, 0.5), url, f"w{len(self.limiters)}", LEASE_S)
        made = Limiter(lambda _: self.limits, exchange, LEASE_S)
        self.limiters.append(made)
        return made


@pytest.fixture
async def processes(stack: Stack) -> AsyncIterator[Processes]:
    processes = Processes(stack.settings.redis_url)
    yield processes
    for made in processes.limiters:
        await made.close()
    processes.client.close()


async def call(limiter: Limiter, progress: Progress, used: Usage | None = None) -> float:
    async with limiter.place(progress, REQUEST) as place:
        await place.come()
        place.used = used
        return time.monotonic()


async def until(condition: Callable[[], object], what: str) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - what is waited for is in Redis
            await asyncio.sleep(0.01)
    assert condition(), what


async def test_without_limits_nobody_is_asked() -> None:
    def refuse(provider_id: str, report: Report) -> Answer:
        raise AssertionError

    limiter = Limiter(lambda _: Limits(), refuse, LEASE_S)
    for _ in range(10):
        await call(limiter, job())
    await limiter.close()


async def test_calls_are_spaced_over_two_processes(processes: Processes) -> None:
    processes.limits = Limits(requests_per_minute=600)
    one, two = processes.start(), processes.start()
    times = sorted(await asyncio.gather(*(call(limiter, job()) for limiter in (one, two) for _ in range(10))))
    # 20 calls at 600 a minute: what is given is spaced, however late this machine lets it come.
    assert times[-1] - times[0] >= 17 * 60 / 600
    assert one.counters.waited + two.counters.waited >= 15


async def test_a_bulk_job_whose_turn_is_far_off_goes_back(processes: Processes) -> None:
    processes.limits = Limits(requests_per_minute=60)
    limiter = processes.start()
    ends = await asyncio.gather(*(call(limiter, job(budget_s=3)) for _ in range(50)), return_exceptions=True)
    waits_s = [end.wait_s for end in ends if isinstance(end, YieldError)]
    assert 44 <= len(waits_s) <= 48
    assert len(set(waits_s)) == len(waits_s), "they do not come back together"
    assert all(1 <= wait_s <= 60 for wait_s in waits_s)
    assert limiter.counters.sent_away == len(waits_s)


async def test_an_interactive_job_is_told_at_once_that_it_would_wait_too_long(processes: Processes) -> None:
    processes.limits = Limits(requests_per_minute=1)
    limiter = processes.start()
    await call(limiter, job("interactive"))
    with pytest.raises(YieldError) as early:
        await call(limiter, job("interactive"))
    assert 25 < early.value.wait_s <= 60


async def test_a_single_job_enters_before_its_turn_and_may_leave_without(processes: Processes) -> None:
    """It leaves when its intent finds the job lost, while the turn is on its way; nothing stays taken."""
    processes.limits = Limits(calls_in_flight=1)
    limiter = processes.start()
    for wait_s in (0.0, 0.5):  # before the turn has come, and after
        async with limiter.place(job("interactive"), REQUEST):
            assert limiter.line_to("p") is not None
            assert not limiter.line_to("p").is_free  # type: ignore[union-attr]
            await asyncio.sleep(wait_s)
    await call(limiter, job("interactive"))
    await call(limiter, job())


async def test_a_turn_that_nobody_waits_for_is_given_back_once(processes: Processes) -> None:
    """It is given and not yet due when its job leaves, and then the provider wants a pause."""
    processes.limits = Limits(requests_per_minute=60, tokens_per_minute=100_000)
    limiter = processes.start()
    await call(limiter, job("interactive"), Usage(10, 20))
    line = limiter._lines["p"]
    async with limiter.place(job("interactive"), REQUEST):
        await until(lambda: line._held == 1, "a turn that is not due")
    limiter.hold("p", 1.5)
    await call(limiter, job("interactive"), Usage(10, 20))
    assert line._held == 0
    await until(lambda: sum(_state(processes)["tokens"]["window"][1::2]) == 60, "no tokens for the one that left")


async def test_of_many_single_jobs_that_come_at_once_one_enters_before_its_turn(processes: Processes) -> None:
    processes.limits = Limits(requests_per_minute=60)
    limiter, entered = processes.start(), list[float]()

    async def enter() -> None:
        async with limiter.place(job("interactive", budget_s=0.5), REQUEST) as place:
            entered.append(time.monotonic())
            await place.come()

    ends = await asyncio.gather(*(enter() for _ in range(20)), return_exceptions=True)
    assert len(entered) <= 3
    assert sum(isinstance(end, YieldError) for end in ends) == 20 - len(entered)


async def test_what_a_call_used_is_settled_and_learned(processes: Processes) -> None:
    processes.limits = Limits(tokens_per_minute=100_000)
    limiter = processes.start()
    for _ in range(8):
        await call(limiter, job("interactive"), Usage(10, 20))

    def remembered() -> float:
        return sum(float(n) for n in _state(processes)["tokens"]["window"][1::2])

    await until(lambda: remembered() == 8 * 30, "settlements")
    learned = limiter._lines["p"].experience["complete"]
    assert learned.estimate(14, 100) == pytest.approx(30, abs=2)


async def test_what_a_call_used_too_much_is_a_debt(processes: Processes) -> None:
    processes.limits = Limits(tokens_per_minute=1000)
    limiter = processes.start()
    await call(limiter, job("interactive"), Usage(10, 2000))
    await until(lambda: _state(processes)["tokens"]["window"][1:] == [2010], "settlement")
    with pytest.raises(YieldError):
        await call(limiter, job("interactive"))


async def test_a_429_stops_all_processes(processes: Processes) -> None:
    processes.limits = Limits(requests_per_minute=6000)
    one, two = processes.start(), processes.start()
    await call(two, job())
    before = time.monotonic()
    with pytest.raises(ProviderRateLimitedError):
        async with one.place(job(), REQUEST):
            raise ProviderRateLimitedError("p", "slower", 429, 1.5)
    await until(lambda: "hold" in _state(processes) and _state(processes)["hold"], "a pause")
    for limiter in (one, two):
        assert await call(limiter, job("interactive")) - before >= 1.5
    assert one.counters.held_off == 1


async def test_headers_that_leave_little_stop_all_processes(processes: Processes) -> None:
    processes.limits = Limits(requests_per_minute=6000)
    one, two = processes.start(), processes.start()
    await call(two, job())
    before = time.monotonic()
    async with one.place(job(), REQUEST) as place:
        place.headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1.5s"}
    await until(lambda: "hold" in _state(processes) and _state(processes)["hold"], "a pause")
    for limiter in (one, two):
        assert await call(limiter, job("interactive")) - before >= 1.5
    assert (one.counters.eased_off, one.counters.held_off) == (1, 0)


async def test_headers_never_shorten_a_pause(processes: Processes) -> None:
    limiter = processes.start()
    before = time.monotonic()

    async def refused() -> None:
        async with limiter.place(job(), REQUEST) as place:
            place.headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "100ms"}
            raise ProviderRateLimitedError("p", "slower", 429, 1.0)

    with pytest.raises(ProviderRateLimitedError):
        await refused()
    async with limiter.place(job("interactive"), REQUEST) as place:
        assert time.monotonic() - before >= 1.0
        place.headers = {"x-ratelimit-remaining-requests": "many", "x-ratelimit-reset-requests": "-3"}
    await call(limiter, job("interactive"))
    assert limiter.counters.held_off == 1


async def test_a_429_of_a_provider_without_limits_stops_this_process(processes: Processes) -> None:
    limiter = processes.start()
    before = time.monotonic()
    with pytest.raises(ProviderRateLimitedError):
        async with limiter.place(job(), REQUEST):
            raise ProviderRateLimitedError("p", "slower", 429, 1.0)
    assert await call(limiter, job()) - before >= 1.0


async def test_calls_in_flight_wait_for_each_other(processes: Processes) -> None:
    processes.limits = Limits(calls_in_flight=2)
    one, two = processes.start(), processes.start()
    running = most = 0

    async def run(limiter: Limiter) -> None:
        nonlocal running, most
        async with limiter.place(job(), REQUEST):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            running -= 1

    await asyncio.gather(*(run(limiter) for limiter in (one, two) for _ in range(10)))
    assert most == 2


async def test_whoever_stops_waiting_holds_nothing(processes: Processes) -> None:
    processes.limits = Limits(calls_in_flight=1)
    limiter = processes.start()
    async with limiter.place(job(), REQUEST):
        waits = asyncio.create_task(call(limiter, job()))
        await until(lambda: limiter._lines["p"].holds, "a job in line")
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
    await call(limiter, job())


async def test_a_worker_that_stops_sends_everybody_back(processes: Processes) -> None:
    processes.limits = Limits(requests_per_minute=1)
    limiter = processes.start()
    await call(limiter, job())
    waits = asyncio.create_task(call(limiter, job("bulk", 100)))
    await until(lambda: limiter._lines["p"].holds, "a job in line")
    limiter.drain()
    with pytest.raises(YieldError) as early:
        await waits
    assert early.value.wait_s == 0
    with pytest.raises(YieldError):
        await call(limiter, job())


async def test_a_limit_that_is_raised_or_dropped_lets_go_who_waits(processes: Processes) -> None:
    processes.limits = Limits(requests_per_minute=1)
    limiter = processes.start()
    await call(limiter, job())
    waits = asyncio.create_task(call(limiter, job("bulk", 100)))
    await until(lambda: limiter._lines["p"].holds, "a job in line")
    processes.limits = Limits()
    limiter.refresh()
    async with asyncio.timeout(SECONDS):
        await waits


async def test_a_turn_that_passed_is_waited_for_again(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiter_module, "LATE_S", 0.05)
    processes.limits = Limits(requests_per_minute=600, tokens_per_minute=100_000)
    limiter = processes.start()
    async with limiter.place(job(), REQUEST) as place:
        await until(lambda: place.late, "lateness")
        passed = place._waiter
        await place.punctual()
        assert place._waiter not in (passed, None)
        reserved = place._estimate()

    def remembered() -> float:
        return sum(float(n) for n in _state(processes)["tokens"]["window"][1::2])

    await until(lambda: remembered() == reserved, "the tokens of the first turn back")


async def test_without_redis_a_process_keeps_to_its_share(processes: Processes) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        limiter = processes.start(f"redis://127.0.0.1:{nobody.getsockname()[1]}/0")
        processes.limits = Limits(requests_per_minute=600, calls_in_flight=5)
        times = sorted(await asyncio.gather(*(call(limiter, job()) for _ in range(15))))
    assert times[-1] - times[0] >= 13 * 60 / 600
    assert limiter.counters.without_redis > 0


def _state(processes: Processes) -> Any:
    text = processes.client.get("ticketflow:limits:p")
    return json.loads(str(text)) if text else {}
