"""Twenty worker processes follow every change; how fast, and what a lost message costs, stands in the report."""

import signal
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
import redis

from config.presence import Presence, PresenceBoard
from config.redis_names import REGISTRY_GENERATION
from config.settings import PREFIX, Settings
from embedded.servers import EmbeddedServers
from jobs.migrate import migrate
from producer.convergence import wait_for_generation
from producer.producer import Producer
from tests.support.waiting import wait_for
from tests.support.workers import WorkerProcess

PROCESSES = 20
CHANGES = 100
DEADLINE_S = 20.0


@dataclass
class Fleet:
    """The processes, and a producer that changes what they follow."""

    servers: EmbeddedServers
    producer: Producer
    workers: Sequence[WorkerProcess]

    def change(self, number: int) -> int:
        """Changes a provider; returns the generation."""
        return self.producer.providers.change("groq", {"default_model": f"m{number}"})

    def following_s(self, generation: int) -> float:
        """Seconds until every process has said that it holds the generation."""
        started = time.perf_counter()
        board = PresenceBoard(self.producer.redis, self.producer.settings.redis_url)

        def everyone() -> list[Presence]:
            living = board.living()
            return living if len(living) == PROCESSES and all(p.generation >= generation for p in living) else []

        deadline = time.monotonic() + DEADLINE_S
        while not everyone():
            assert time.monotonic() < deadline, f"generation {generation} is not everywhere: {board.living()}"
            time.sleep(0.002)
        return time.perf_counter() - started


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with EmbeddedServers(folder / "servers", persistent=False) as servers, ExitStack() as stack:
        migrate(servers.database_url)
        environment = servers.worker_environment
        workers = [WorkerProcess(environment, folder / f"{n}.log", ready=False) for n in range(PROCESSES)]
        for worker in workers:
            stack.enter_context(worker)
        given = {k.removeprefix(PREFIX).lower(): v for k, v in servers.operator_environment.items()}
        producer = stack.enter_context(Producer(Settings.model_validate(given)))
        fleet = Fleet(servers, producer, workers)
        board = PresenceBoard(producer.redis, producer.settings.redis_url)
        wait_for(lambda: len(board.living()) == PROCESSES, "twenty processes", 90)
        yield fleet
        for worker in workers:
            worker.process.terminate()  # all at once: leaving the stack waits for them one by one


def test_every_change_is_followed(fleet: Fleet, figures: list[str]) -> None:
    took_ms = sorted(fleet.following_s(fleet.change(n)) * 1000 for n in range(CHANGES))
    figures.append(
        f"commit to acknowledged by {PROCESSES} processes, {CHANGES} changes: p50 {statistics.median(took_ms):.0f} ms, "
        f"p99 {took_ms[CHANGES * 99 // 100 - 1]:.0f} ms, longest {took_ms[-1]:.0f} ms"
    )
    board = PresenceBoard(fleet.producer.redis, fleet.producer.settings.redis_url)
    report = wait_for_generation(board, fleet.producer.ledger, fleet.change(-1), DEADLINE_S)
    assert f"{PROCESSES} of {PROCESSES} worker processes" in str(report)


def _subscriptions_cut(fleet: Fleet) -> int:
    fleet.producer.redis.client_kill_filter(_type="pubsub")
    return fleet.change(1000)


def _redis_emptied(fleet: Fleet) -> int:
    generation = fleet.change(1001)
    fleet.producer.redis.flushall()
    return generation


def _redis_restarted(fleet: Fleet) -> int:
    """Empty, and the change is committed while it is away."""
    (valkey,) = (member for member in fleet.servers.members if member.name == "Valkey")
    process = valkey.process
    assert process is not None
    process.send(signal.SIGKILL)
    wait_for(lambda: process.status() is not None, "end of Valkey")
    generation = fleet.change(1002)
    valkey.respawn()
    wait_for(lambda: _answers(fleet), "Valkey")
    return generation


def _answers(fleet: Fleet) -> bool:
    try:
        return bool(fleet.producer.redis.ping())
    except redis.RedisError:
        return False


def _message_lost(fleet: Fleet) -> int:
    """The snapshot is there and nobody was told."""
    sql = "UPDATE registry SET generation = generation + 1 RETURNING generation"
    (row,) = fleet.producer.database.query(sql)
    fleet.producer.redis.set(REGISTRY_GENERATION, row["generation"])
    return int(row["generation"])


def _process_frozen(fleet: Fleet) -> int:
    process = fleet.workers[0].process
    process.send_signal(signal.SIGSTOP)
    try:
        return fleet.change(1003)
    finally:
        process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("loss", [_subscriptions_cut, _message_lost, _redis_emptied, _redis_restarted, _process_frozen])
def test_a_lost_message_is_made_up_for(fleet: Fleet, figures: list[str], loss: Callable[[Fleet], int]) -> None:
    took_s = fleet.following_s(loss(fleet))
    name = loss.__name__.strip("_").replace("_", " ")
    figures.append(f"{name}: {PROCESSES} processes on the new generation after {took_s:.2f} s")
