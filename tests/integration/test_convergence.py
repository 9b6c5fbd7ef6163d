"""Changes reach every worker process at once, and whoever is behind is named."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.keys import open_keys
from config.presence import PresenceBoard
from config.redis_link import connect_redis
from producer.convergence import Convergence, wait_for_generation
from producer.producer import Producer
from tests.conftest import Stack
from tests.support.llm_server import LLMServer
from tests.support.providers import add_local
from tests.support.workers import WorkerProcess


@pytest.fixture
def producer(stack: Stack) -> Iterator[Producer]:
    with Producer(stack.settings) as producer:
        yield producer


def reached(producer: Producer, generation: int, timeout_s: float = 5.0) -> Convergence:
    board = PresenceBoard(producer.redis, producer.settings.redis_url)
    return wait_for_generation(board, producer.ledger, generation, timeout_s)


def test_every_process_follows_and_a_frozen_one_is_named(stack: Stack, producer: Producer, tmp_path: Path) -> None:
    assert "no worker process" in str(reached(producer, 1))
    environment = stack.worker_environment
    with WorkerProcess(environment, tmp_path / "1.log") as first, WorkerProcess(environment, tmp_path / "2.log"):
        for model in ("a", "b", "c"):
            generation = producer.providers.change("groq", {"default_model": model})
            after = reached(producer, generation)
            assert f"2 of 2 worker processes on generation {generation}, slowest" in str(after)
            assert after.slowest_ms is not None
        first.process.send_signal(signal.SIGSTOP)
        try:
            generation = producer.providers.change("groq", {"default_model": "d"})
            behind = reached(producer, generation, 1.0)
            assert [p.pid for p in behind.behind] == [first.process.pid]
            assert str(first.process.pid) in str(behind)
        finally:
            first.process.send_signal(signal.SIGCONT)
        assert reached(producer, generation).behind == ()


@pytest.mark.parametrize("loss", ["subscription cut", "publish lost", "Redis emptied"])
def test_a_lost_message_costs_seconds(stack: Stack, producer: Producer, tmp_path: Path, loss: str) -> None:
    with WorkerProcess(stack.worker_environment, tmp_path / "worker.log"):
        admin = connect_redis(stack.settings.redis_url)
        if loss == "subscription cut":
            admin.client_kill_filter(_type="pubsub")
            generation = producer.providers.change("groq", {"default_model": "m"})
        elif loss == "publish lost":
            (row,) = producer.database.query("UPDATE registry SET generation = generation + 1 RETURNING generation")
            generation = row["generation"]
            producer.redis.set("ticketflow:registry:generation", generation)
        else:
            generation = producer.providers.change("groq", {"default_model": "m"})
            admin.flushdb()
        admin.close()
        after = reached(producer, generation, 10.0)
        assert [p.generation for p in after.current] == [generation], "an emptied board convinces nobody"


def test_no_call_goes_to_the_old_address_once_the_wait_is_over(
    stack: Stack, producer: Producer, tmp_path: Path
) -> None:
    with LLMServer() as old, LLMServer() as new, WorkerProcess(stack.worker_environment, tmp_path / "worker.log"):
        add_local(producer, old, "custom-moving")
        first = [producer.enqueue("complete", {"prompt": f"{n}"}, provider="custom-moving") for n in range(20)]
        generation = producer.providers.change("custom-moving", {"base_url": new.openai_url})
        assert reached(producer, generation).behind == ()
        assert [job.wait(20).state for job in first] == ["succeeded"] * 20
        old.reset()
        later = [producer.enqueue("complete", {"prompt": f"{n}"}, provider="custom-moving") for n in range(20)]
        assert {job.wait(20).provider_generation for job in later} == {generation}
        assert old.requests() == []
        assert len(new.requests()) >= 20


def test_a_rotated_key_is_in_use_as_soon_as_the_wait_is_over(stack: Stack, producer: Producer, tmp_path: Path) -> None:
    """No provider refuses the old key here: that the new one is used comes from the change alone."""
    operator = open_keys(stack.settings)
    with LLMServer() as llm, WorkerProcess(stack.worker_environment, tmp_path / "worker.log"):
        add_local(producer, llm, "custom-rotated")
        jobs = []
        first = operator.store("custom-rotated", "sk-0")
        assert reached(producer, producer.providers.key_was_set("custom-rotated")).behind == ()
        for number in range(1, 6):
            jobs += [producer.enqueue("complete", {"prompt": f"{n}"}, provider="custom-rotated") for n in range(20)]
            assert operator.store("custom-rotated", f"sk-{number}") == first + number
            assert reached(producer, producer.providers.key_was_set("custom-rotated")).behind == ()
            job = producer.enqueue("complete", {"prompt": "x"}, provider="custom-rotated").wait(20)
            assert (job.state, job.key_version) == ("succeeded", first + number)
        assert [job.wait(20).state for job in jobs] == ["succeeded"] * 100
