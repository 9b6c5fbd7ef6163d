"""The script that shares a provider's limits, on a real Valkey with a clock of the test's: hours pass in seconds."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import redis

from config.providers import Limits
from config.redis_link import connect_redis
from config.resources import text_of
from tests.conftest import Stack
from worker.limits.exchange import Answer, LimitExchange, Report, Turn

START_S = 1_790_000_000
MINUTE_MS = 60_000
WAY_MS = 1000
"""So late a call may reach its provider."""


class Clock:
    """What the script takes for the server's time, in milliseconds."""

    def __init__(self, client: redis.Redis) -> None:
        self._client, self.ms = client, 0
        self.forward(0)

    def forward(self, ms: int) -> None:
        self.ms += ms
        self._client.delete("clock")
        self._client.rpush("clock", START_S + self.ms // 1000, self.ms % 1000 * 1000)

    @property
    def now_ms(self) -> int:
        return START_S * 1000 + self.ms


@dataclass
class Cluster:
    """Processes that exchange with one Redis; ``calls`` holds [time, tokens] of all that were given a turn."""

    client: redis.Redis
    url: str
    clock: Clock
    calls: list[list[int]] = field(default_factory=list)

    def process(self, name: str, lease_s: float = 15.0) -> LimitExchange:
        exchange = LimitExchange(self.client, self.url, name, lease_s)
        text = text_of("worker", "lua/limits.lua")
        clocked = text.replace("redis.call('TIME')", "redis.call('LRANGE', 'clock', 0, -1)")
        assert clocked != text
        exchange._script = self.client.register_script(clocked)
        return exchange

    def ask(self, exchange: LimitExchange, report: Report) -> Answer:
        answer = exchange("p", report)
        assert answer.now_ms == self.clock.now_ms
        tokens = [amount for (amount, _), turn in zip(report.interactive, answer.interactive, strict=True) if _is(turn)]
        waits = [turn.wait_ms for turn in answer.interactive if turn and turn.given]
        given = [*zip(waits, tokens, strict=True), *zip(answer.bulk, report.bulk, strict=False)]
        self.calls += [[self.clock.now_ms + wait_ms, amount] for wait_ms, amount in given]
        return answer


def _is(turn: Turn | None) -> bool:
    return turn is not None and turn.given


@pytest.fixture
def cluster(stack: Stack) -> Iterator[Cluster]:
    client = connect_redis(stack.settings.redis_url)
    yield Cluster(client, stack.settings.redis_url, Clock(client))
    client.close()


def most_in_a_minute(calls: list[list[int]], rng: random.Random) -> tuple[int, int]:
    """The most requests and tokens that a provider sees in any 60 s, wherever they begin; calls come up to 1 s late."""
    arrived = sorted((at + rng.random() * WAY_MS, tokens) for at, tokens in calls)
    first = tokens_in = most_requests = most_tokens = 0
    for last, (at, tokens) in enumerate(arrived):
        tokens_in += tokens
        while arrived[first][0] <= at - MINUTE_MS:
            tokens_in -= arrived[first][1]
            first += 1
        most_requests, most_tokens = max(most_requests, last - first + 1), max(most_tokens, tokens_in)
    return most_requests, most_tokens


def saturated(
    cluster: Cluster, limits: Limits, rng: random.Random, largest: int, share: tuple[float, float], steps: int = 500
) -> float:
    """Three processes with more bulk than is allowed, and now and then an interactive job; returns the minutes.

    Calls end within 5 s; each has then used a part of what was reserved for it that is anywhere in ``share``.
    """
    processes = [cluster.process(f"w{n}") for n in range(3)]
    running: list[tuple[int, int, list[int]]] = []
    for _ in range(steps):
        cluster.clock.forward(rng.randrange(20, 600))
        ended = [item for item in running if item[0] <= cluster.clock.now_ms]
        running = [item for item in running if item[0] > cluster.clock.now_ms]
        settled = [(call[0], call[1] - reserved) for _, reserved, call in ended]
        interactive = [(rng.randrange(1, largest), 30_000)] if rng.random() < 0.1 else []
        bulk = [rng.randrange(1, largest) for _ in range(100)]
        before = len(cluster.calls)
        cluster.ask(rng.choice(processes), Report(limits, settled=settled, interactive=interactive, bulk=bulk))
        for call in cluster.calls[before:]:
            running.append((call[0] + rng.randrange(5000), call[1], call))
            call[1] = round(call[1] * rng.uniform(*share))
    return cluster.clock.ms / MINUTE_MS


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("requests", "tokens"), [(1, None), (7, None), (600, None), (None, 60_000), (600, 90_000)])
def test_no_minute_sees_more_than_the_limit(
    cluster: Cluster, requests: int | None, tokens: int | None, seed: int
) -> None:
    rng = random.Random(seed)
    minutes = saturated(cluster, Limits(requests_per_minute=requests, tokens_per_minute=tokens), rng, 3000, (0.0, 1.0))
    most_requests, most_tokens = most_in_a_minute(cluster.calls, rng)
    assert requests is None or most_requests <= requests
    assert tokens is None or most_tokens <= tokens
    assert tokens or requests is None or len(cluster.calls) >= 0.95 * requests * (minutes - 1)


@pytest.mark.parametrize("seed", range(3))
def test_with_estimates_that_are_right_on_average_little_is_left_unused(cluster: Cluster, seed: int) -> None:
    rng = random.Random(seed)
    minutes = saturated(cluster, Limits(tokens_per_minute=60_000), rng, 600, (0.5, 1.5), 700)
    _, most = most_in_a_minute(cluster.calls, rng)
    assert most <= 60_000 * 1.02
    assert sum(tokens for _, tokens in cluster.calls) >= 60_000 * 0.95 * minutes


def test_an_emptied_redis_opens_no_second_window(cluster: Cluster) -> None:
    limits, rng = Limits(requests_per_minute=300), random.Random(1)
    workers = [cluster.process("a"), cluster.process("b")]
    for step in range(400):
        cluster.clock.forward(300)
        if step % 50 == 49:
            cluster.client.delete("ticketflow:limits:p")
        cluster.ask(rng.choice(workers), Report(limits, processes=2 if step else 0, bulk=[1] * 50))
    assert most_in_a_minute(cluster.calls, rng)[0] <= 300
    assert len(cluster.calls) > 300 * 0.9 * cluster.clock.ms / MINUTE_MS


@pytest.mark.parametrize("others", [1, 20])
def test_interactive_jobs_pass_bulk(cluster: Cluster, others: int) -> None:
    limits = Limits(requests_per_minute=1200)
    bulk = [cluster.process(f"bulk-{n}") for n in range(others)]
    desk = cluster.process("desk")
    waits = []
    for step in range(100):
        cluster.clock.forward(250)
        for process in bulk:
            cluster.ask(process, Report(limits, bulk=[1] * 200))
        if step % 5 == 0:
            (turn,) = cluster.ask(desk, Report(limits, interactive=[(1, 30_000)])).interactive
            assert turn is not None
            waits.append(turn.wait_ms)
    assert max(waits) <= 1100


def test_a_job_that_would_wait_too_long_gets_no_turn_and_takes_none(cluster: Cluster) -> None:
    limits, process = Limits(requests_per_minute=60), cluster.process("w")
    turns = cluster.ask(process, Report(limits, interactive=[(1, 5000)] * 100)).interactive
    given = [turn for turn in turns if _is(turn)]
    assert 5 <= len(given) <= 6
    assert all(turn and 5000 < turn.wait_ms < 6500 for turn in turns[len(given) :])
    cluster.clock.forward(6000)
    (turn,) = cluster.ask(process, Report(limits, interactive=[(1, 5000)])).interactive
    assert turn is not None
    assert turn.given
    assert turn.wait_ms < 1000


def test_bulk_is_told_when_to_ask_again_and_gets_its_turns_then(cluster: Cluster) -> None:
    limits, process = Limits(requests_per_minute=60), cluster.process("w")
    first = cluster.ask(process, Report(limits, bulk=[1] * 10))
    assert len(first.bulk) == 1
    for _ in range(5):
        assert first.again_ms
        cluster.clock.forward(first.again_ms)
        first = cluster.ask(process, Report(limits, bulk=[1] * 10))
        assert len(first.bulk) == 1


@pytest.mark.parametrize(("before", "after"), [(6, 6000), (6000, 6)])
def test_a_changed_limit_acts_at_once(cluster: Cluster, before: int, after: int) -> None:
    process = cluster.process("w")
    cluster.ask(process, Report(Limits(requests_per_minute=before), interactive=[(1, 30_000)] * 200))
    cluster.clock.forward(100)
    changed = Limits(requests_per_minute=after)
    (turn,) = cluster.ask(process, Report(changed, interactive=[(1, 120_000)])).interactive
    assert turn is not None
    assert turn.given
    if after > before:
        assert turn.wait_ms < 1000
    else:
        assert 59_000 < turn.wait_ms < 95_000, "once the minute of the old limit is over, and not long after"


def test_what_was_given_under_a_higher_limit_and_is_long_over_does_not_count(cluster: Cluster) -> None:
    process = cluster.process("w")
    assert len(cluster.ask(process, Report(Limits(requests_per_minute=6000), bulk=[1] * 250)).bulk) > 50
    cluster.clock.forward(3000)
    (wait_ms,) = cluster.ask(process, Report(Limits(requests_per_minute=60), bulk=[1])).bulk
    assert wait_ms == 0


def test_a_pause_that_the_provider_asks_for_is_kept_by_all(cluster: Cluster) -> None:
    limits = Limits(requests_per_minute=600)
    refused, other = cluster.process("a"), cluster.process("b")
    cluster.ask(refused, Report(limits, hold_ms=7000))
    answer = cluster.ask(other, Report(limits, interactive=[(1, 30_000)] * 2, bulk=[1]))
    assert [turn.wait_ms for turn in answer.interactive if turn] == [7000, 7000]
    assert answer.bulk == []
    assert answer.hold_ms == 7000
    cluster.clock.forward(7000)
    assert cluster.ask(other, Report(limits, bulk=[1])).bulk


def test_a_call_larger_than_the_limit_gets_a_whole_minute(cluster: Cluster) -> None:
    limits, process = Limits(tokens_per_minute=1000), cluster.process("w")
    assert cluster.ask(process, Report(limits, bulk=[5000])).bulk == [0]
    (turn,) = cluster.ask(process, Report(limits, interactive=[(5000, 120_000)])).interactive
    assert turn is not None
    assert turn.given
    assert 60_000 < turn.wait_ms < 63_000


def test_calls_in_flight_are_bounded_and_pass_from_process_to_process(cluster: Cluster) -> None:
    limits, rng = Limits(calls_in_flight=3), random.Random(5)
    processes = {f"w{n}": cluster.process(f"w{n}") for n in range(5)}
    held = dict.fromkeys(processes, 0)
    served = dict.fromkeys(processes, 0)
    for _ in range(1000):
        cluster.clock.forward(100)
        name = rng.choice(list(processes))
        held[name] -= rng.randint(0, held[name])
        got = len(cluster.ask(processes[name], Report(limits, held[name], 5, bulk=[1] * 9)).bulk)
        held[name] += got
        served[name] += got
        assert sum(held.values()) <= 3
    assert min(served.values()) > 0.5 * max(served.values())


def test_what_a_dead_process_held_is_free_after_its_lease(cluster: Cluster) -> None:
    limits, dead, alive = Limits(calls_in_flight=2), cluster.process("dead", 5.0), cluster.process("alive", 5.0)
    assert len(cluster.ask(dead, Report(limits, bulk=[1] * 3)).bulk) == 2
    cluster.clock.forward(4900)
    refused = cluster.ask(alive, Report(limits, bulk=[1]))
    assert refused.bulk == []
    assert refused.again_ms
    cluster.clock.forward(200)
    assert cluster.ask(alive, Report(limits, bulk=[1])).bulk == [0]


def test_an_interactive_job_is_next_when_a_call_ends(cluster: Cluster) -> None:
    limits, first, bulk, desk = Limits(calls_in_flight=1), *map(cluster.process, ("first", "bulk", "desk"))
    assert len(cluster.ask(first, Report(limits, bulk=[1])).bulk) == 1
    cluster.ask(bulk, Report(limits, bulk=[1]))
    cluster.clock.forward(100)
    assert cluster.ask(desk, Report(limits, interactive=[(1, 30_000)])).interactive == [None]
    cluster.ask(first, Report(limits, held=0))
    assert cluster.ask(bulk, Report(limits, bulk=[1])).bulk == []
    assert cluster.ask(desk, Report(limits, interactive=[(1, 30_000)])).interactive == [Turn(True, 0)]


def test_an_emptied_redis_hears_again_what_is_held(cluster: Cluster) -> None:
    limits, one, two = Limits(calls_in_flight=4), cluster.process("one"), cluster.process("two")
    assert len(cluster.ask(one, Report(limits, bulk=[1] * 4)).bulk) == 4
    cluster.client.delete("ticketflow:limits:p")
    assert len(cluster.ask(two, Report(limits, processes=2, bulk=[1] * 4)).bulk) == 2, "its share, as it was last told"
    cluster.ask(one, Report(limits, held=4, processes=2))
    assert cluster.ask(two, Report(limits, held=0, processes=2, bulk=[1] * 4)).bulk == []
