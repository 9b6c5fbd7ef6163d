"""Limits over real worker processes, against a provider that enforces its quota."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from config.presence import PresenceBoard
from jobs.kind import NewJob
from jobs.kinds import KINDS
from producer.convergence import wait_for_generation
from producer.producer import Producer
from tests.conftest import Stack
from tests.support.llm_server import LLMServer
from tests.support.providers import add_local
from tests.support.waiting import wait_for
from tests.support.workers import WorkerProcess

PER_MINUTE = 1200
PER_SECOND = PER_MINUTE / 60


@pytest.fixture
def llm() -> Iterator[LLMServer]:
    with LLMServer() as server:
        yield server


@pytest.fixture
def producer(stack: Stack) -> Iterator[Producer]:
    with Producer(stack.settings) as producer:
        yield producer


def add_provider(producer: Producer, llm: LLMServer, **limits: int) -> str:
    """A provider on this machine, which needs no key."""
    provider_id = f"custom-{os.urandom(6).hex()}"
    add_local(producer, llm, provider_id, limits=limits)
    return provider_id


def prompts(count: int) -> list[NewJob]:
    return [KINDS["complete"].accept({"prompt": f"prompt {n}"}, f"c{n}") for n in range(count)]


def refused(llm: LLMServer) -> list[dict[str, Any]]:
    return [request for request in llm.requests() if request["status"] == 429]


def calls_in(llm: LLMServer, begin: float, end: float) -> int:
    return sum(begin <= request["started_at"] < end for request in llm.requests())


TOKENS = 150
"""What llmock says that a call of these tests used, roughly; more than what its quota counts for it."""


@pytest.mark.parametrize("limit", ["requests_per_minute", "tokens_per_minute"])
def test_four_processes_use_a_limit_to_the_full_and_are_never_refused(
    stack: Stack, producer: Producer, llm: LLMServer, tmp_path: Path, limit: str
) -> None:
    per_minute = PER_MINUTE if limit == "requests_per_minute" else PER_MINUTE * TOKENS
    provider_id = add_provider(producer, llm, **{limit: per_minute})
    llm.scenario([{"type": "delay", "seconds": 0.3, "times": None}])
    llm.scenario([{"type": "reply", "text": "words " * 100, "times": None}])
    with ExitStack() as workers:
        processes = [WorkerProcess(stack.worker_environment, tmp_path / f"{n}.log", ready=False) for n in range(4)]
        for process in processes:
            workers.enter_context(process)
        wait_for(lambda: all(process._ready() for process in processes), "workers", 40)
        llm.quota(**{limit: per_minute}, left=0.02)
        producer.submit_batch("complete", prompts(1000), provider=provider_id)
        wait_for(lambda: len(llm.requests()) > 2 * PER_SECOND, "first seconds")
        begin = time.monotonic()
        waits_s = []
        while time.monotonic() < begin + 8:
            desk = producer.enqueue("complete", {"prompt": "hurry"}, provider=provider_id)
            asked = time.monotonic()
            usage = desk.wait(20).usage
            waits_s.append(time.monotonic() - asked)
        end = time.monotonic()
    cost = 1 if limit == "requests_per_minute" else usage.input_tokens + usage.output_tokens
    used = calls_in(llm, begin, end) * cost / (end - begin) / (per_minute / 60)
    print(f"{used:.1%} of the limit; interactive jobs in {sorted(waits_s)}")
    assert refused(llm) == []
    assert used >= 0.95


def overlapping(requests: list[dict[str, Any]]) -> int:
    """Most requests that the server was answering at once."""
    marks = sorted([(r["started_at"], 1) for r in requests] + [(r["ended_at"], -1) for r in requests])
    at_once = most = 0
    for _, step in marks:
        at_once += step
        most = max(most, at_once)
    return most


def test_calls_in_flight_are_bounded_and_a_dead_process_leaves_none_behind(
    stack: Stack, producer: Producer, llm: LLMServer, tmp_path: Path
) -> None:
    provider_id = add_provider(producer, llm, calls_in_flight=3)
    environment = {**stack.worker_environment, "TICKETFLOW_LEASE_S": "3"}
    llm.scenario([{"type": "delay", "seconds": 0.1, "times": None}])
    with WorkerProcess(environment, tmp_path / "dies.log") as dies, WorkerProcess(environment, tmp_path / "lives.log"):
        assert producer.submit_batch("complete", prompts(60), provider=provider_id).wait(40).succeeded == 60
        assert overlapping(llm.requests()) == 3
        llm.reset()
        llm.scenario([{"type": "delay", "seconds": 15, "times": 3}])  # for whoever makes these calls: one may live
        batch = producer.submit_batch("complete", prompts(12), provider=provider_id)
        wait_for(lambda: batch.status().running == 12, "jobs in hand")
        dies.kill()
        llm.reset()
        assert batch.wait(60).succeeded == 12


def test_limits_are_kept_when_redis_is_emptied_and_when_they_are_changed(
    stack: Stack, producer: Producer, llm: LLMServer, tmp_path: Path
) -> None:
    provider_id = add_provider(producer, llm, requests_per_minute=PER_MINUTE)
    first, second = (WorkerProcess(stack.worker_environment, tmp_path / f"{n}.log") for n in range(2))
    with first, second:
        llm.quota(PER_MINUTE, left=0.02)
        batch = producer.submit_batch("complete", prompts(150), provider=provider_id)
        wait_for(lambda: len(llm.requests()) > 2 * PER_SECOND, "calls")
        producer.redis.flushdb()
        assert batch.wait(40).succeeded == 150
        assert refused(llm) == []
        for requests_per_minute, jobs in ((5 * PER_MINUTE, 200), (60, 5)):
            llm.reset()
            generation = producer.providers.change(
                provider_id, {"limits": {"requests_per_minute": requests_per_minute}}
            )
            board = PresenceBoard(producer.redis, producer.settings.redis_url)
            assert wait_for_generation(board, producer.ledger, generation, 10.0).behind == ()
            llm.quota(requests_per_minute, left=0.02)
            begin = time.monotonic()
            assert producer.submit_batch("complete", prompts(jobs), provider=provider_id).wait(40).succeeded == jobs
            assert calls_in(llm, begin, begin + 60) == jobs
            assert refused(llm) == []
