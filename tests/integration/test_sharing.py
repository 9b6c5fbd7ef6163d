"""What jobs share: single ones a claim, batches the places in the broker; and the bell for whoever waits."""

import asyncio
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import pytest
import redis

from config.broker import make_app
from config.providers import parse_provider
from config.redis_link import connect_redis
from config.redis_names import BULK_QUEUE, INTERACTIVE_QUEUE
from jobs.bell import KEPT, Bell
from jobs.dispatch import Dispatcher
from jobs.hints import Hint
from jobs.ids import new_id
from jobs.kind import NewJob
from jobs.kinds import KINDS
from jobs.records import Settlement
from jobs.work import WorkLedger
from producer.handles import JobHandle
from producer.producer import Producer
from tests.conftest import Stack
from tests.support.fault_server import Exchange, FaultServerThread, answer
from tests.support.llm_server import LLMServer
from tests.support.providers import add_local
from tests.support.waiting import wait_for
from tests.support.workers import WorkerProcess

PROVIDER, OTHER = "custom-one", "custom-two"
REPLY = {"choices": [{"message": {"content": "late"}, "finish_reason": "stop"}]}
LISTENER = "who-waits"
NO_SWEEP = {"TICKETFLOW_SWEEP_INTERVAL_S": "600"}


@pytest.fixture
def producer(stack: Stack, llm: LLMServer) -> Iterator[Producer]:
    llm.reset()
    with Producer(stack.settings) as producer:
        for name in (PROVIDER, OTHER):
            add_local(producer, llm, name)
        yield producer


@pytest.fixture
def broker(stack: Stack) -> Iterator[redis.Redis]:
    client = connect_redis(stack.settings.redis_url)
    yield client
    client.close()


def prompts(count: int, word: str = "p") -> Iterator[NewJob]:
    return (KINDS["complete"].accept({"prompt": f"{word}{n}"}, f"c{n}") for n in range(count))


def enqueued(producer: Producer, count: int, provider: str = PROVIDER) -> list[JobHandle]:
    return [producer.enqueue("complete", {"prompt": f"{provider} {n}"}, provider=provider) for n in range(count)]


def test_one_message_takes_the_other_single_jobs_of_its_provider_along(
    stack: Stack, producer: Producer, broker: redis.Redis, tmp_path: Path
) -> None:
    jobs = enqueued(producer, 150)
    left = enqueued(producer, 3, OTHER)
    broker.delete(INTERACTIVE_QUEUE)
    last = producer.enqueue("complete", {"prompt": "the only one whose message is there"}, provider=PROVIDER)
    with WorkerProcess({**stack.worker_environment, **NO_SWEEP}, tmp_path / "worker.log"):
        for job in (last, *jobs):
            assert job.wait(30).state == "succeeded"
        assert {job.status().state for job in left} == {"queued"}, "of another provider"


class SlowProvider:
    """Answers to nobody until it is let."""

    ID = "custom-slow"
    RUNNING = "SELECT count(*) AS n FROM jobs WHERE state = 'running' AND provider_id = 'custom-slow'"

    def __init__(self, producer: Producer) -> None:
        self._producer, self._answers = producer, threading.Event()

    def __enter__(self) -> Self:
        self._server = FaultServerThread(self._play)
        self._server.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.answer()
        self._server.__exit__(None, None, None)

    def add(self, **fields: Any) -> None:
        """Adds it to the registry."""
        url = f"{self._server.url}/v1"
        definition = {"id": self.ID, "name": "S", "type": "openai-compatible", "base_url": url, "default_model": "m"}
        self._producer.providers.add(parse_provider(definition | fields))

    def answer(self) -> None:
        """Everybody gets an answer from now on."""
        self._answers.set()

    def running(self) -> int:
        """Jobs of it that some process has."""
        return int(self._producer.database.query(self.RUNNING)[0]["n"])

    async def _play(self, exchange: Exchange) -> None:
        while not self._answers.is_set():  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0.01)
        await answer(REPLY)(exchange)


@pytest.fixture
def slow(producer: Producer) -> Iterator[SlowProvider]:
    with SlowProvider(producer) as slow:
        yield slow


FEW = {"TICKETFLOW_CALLS_IN_FLIGHT": "20"}


@pytest.mark.parametrize("fields", [{}, {"limits": {"calls_in_flight": 2}}], ids=["slow", "slow and narrow"])
def test_a_slow_provider_leaves_places_to_others(
    stack: Stack, producer: Producer, broker: redis.Redis, slow: SlowProvider, tmp_path: Path, fields: dict[str, Any]
) -> None:
    """However many of its single jobs wait, and without a sweeper when it comes to the rest of them."""
    slow.add(**fields)
    with WorkerProcess({**stack.worker_environment, **NO_SWEEP, **FEW}, tmp_path / "worker.log"):
        jobs = enqueued(producer, 100, slow.ID)
        wait_for(lambda: slow.running() == 18, "nine tenths of the calls in use")
        wait_for(lambda: broker.llen(INTERACTIVE_QUEUE) == 0, "messages that nobody has to wait behind")
        for job in enqueued(producer, 5, OTHER):
            assert job.wait(20).state == "succeeded"
        assert slow.running() == 18
        slow.answer()
        for job in jobs:
            assert job.wait(30).state == "succeeded"


def test_what_one_process_let_go_another_takes(
    stack: Stack, producer: Producer, broker: redis.Redis, slow: SlowProvider, tmp_path: Path
) -> None:
    """One that comes later has it sent again; the first does not, for whom it would come in vain."""
    slow.add()
    environment, first, second = {**stack.worker_environment, **FEW}, tmp_path / "1.log", tmp_path / "2.log"
    with WorkerProcess(environment, first):
        jobs = enqueued(producer, 100, slow.ID)
        wait_for(lambda: slow.running() == 18, "nine tenths of its calls in use")
        wait_for(lambda: broker.llen(INTERACTIVE_QUEUE) == 0, "no message")
        with WorkerProcess(environment, second):
            wait_for(lambda: slow.running() == 36, "as many in the other process", 30)
            slow.answer()
            for job in jobs:
                assert job.wait(30).state == "succeeded"
    assert "sent again" in second.read_text()
    assert "sent again" not in first.read_text()


def test_a_message_with_more_single_jobs_than_places_is_passed_on(
    stack: Stack, producer: Producer, broker: redis.Redis, tmp_path: Path
) -> None:
    """As the sweeper sends them when a provider is back; it would miss the others only seconds later."""
    jobs = enqueued(producer, 60)
    broker.delete(INTERACTIVE_QUEUE)
    few = {"TICKETFLOW_CALLS_IN_FLIGHT": "10"}
    with closing(Dispatcher(make_app(stack.settings), producer.ledger, stack.settings)) as dispatcher:
        dispatcher.send(Hint(PROVIDER, INTERACTIVE_QUEUE, tuple(UUID(job.job_id) for job in jobs)))
    with WorkerProcess({**stack.worker_environment, **NO_SWEEP, **few}, tmp_path / "worker.log"):
        for job in jobs:
            assert job.wait(20).state == "succeeded"


def test_messages_left_over_do_no_harm(stack: Stack, producer: Producer, llm: LLMServer, tmp_path: Path) -> None:
    jobs = enqueued(producer, 200)
    environment = stack.worker_environment
    with WorkerProcess(environment, tmp_path / "1.log"), WorkerProcess(environment, tmp_path / "2.log"):
        assert {job.wait(30).state for job in jobs} == {"succeeded"}
    assert len(llm.requests()) == 200, "one call a job"


def test_a_job_that_takes_its_time_does_not_hold_its_batch_up(
    stack: Stack, producer: Producer, llm: LLMServer, tmp_path: Path
) -> None:
    """The other jobs of its slice have ended, and others of the batch take their places."""
    llm.scenario([{"type": "delay", "seconds": 60, "times": 1}])
    small = {"TICKETFLOW_SLICE_JOBS": "10", "TICKETFLOW_SLICES_PER_BATCH": "1", "TICKETFLOW_CALLS_IN_FLIGHT": "5"}
    with WorkerProcess({**stack.worker_environment, **NO_SWEEP, **small}, tmp_path / "worker.log") as worker:
        batch = producer.submit_batch("complete", prompts(100), provider=PROVIDER)
        wait_for(lambda: batch.status().succeeded >= 90, "other jobs of the batch")
        assert batch.status().running >= 1
        worker.kill()


def test_the_places_of_a_batch_that_ends_go_to_another(
    stack: Stack, producer: Producer, broker: redis.Redis, tmp_path: Path
) -> None:
    small = {"TICKETFLOW_SLICE_JOBS": "10", "TICKETFLOW_SLICES_PER_BATCH": "2"}
    waiting = producer.submit_batch("complete", prompts(100, "a"), provider=OTHER)
    producer.ledger.pause(waiting.batch_id)
    broker.delete(BULK_QUEUE)
    with WorkerProcess({**stack.worker_environment, **NO_SWEEP, **small}, tmp_path / "worker.log"):
        producer.submit_batch("complete", prompts(20, "b"), provider=PROVIDER).wait(30)
        producer.ledger.resume(waiting.batch_id)  # as if whoever resumed it had died before it sent a message
        producer.submit_batch("complete", prompts(20, "c"), provider=PROVIDER).wait(30)
        assert waiting.wait(30).succeeded == 100


def test_a_bell_rings_for_single_jobs_that_end(stack: Stack, producer: Producer, broker: redis.Redis) -> None:
    job = producer.enqueue("complete", {"prompt": "x"}, provider=PROVIDER)
    rung = list[UUID]()
    work = WorkLedger(producer.database, "w1", rung.extend)
    work.renew_lease(60)
    (claim,) = work.claim([UUID(job.job_id)])
    batch = producer.submit_batch("complete", prompts(1), provider=PROVIDER)
    (other,) = work.claim([UUID(next(batch.jobs()).job_id)])
    end = Settlement(claim.job_id, claim.fence, "failed", 1, None, "X", "x")
    work.record([end, Settlement(other.job_id, other.fence, "failed", 1, None, "X", "x")])
    assert rung == [claim.job_id], "nobody waits for a job of a batch"
    work.record([end])
    assert rung == [claim.job_id], "once"


def test_who_waits_hears_the_bell(broker: redis.Redis, stack: Stack) -> None:
    job_id = new_id()
    channel = f"ticketflow:ended:{job_id}"
    with Bell(broker).listening(str(job_id)) as ear, connect_redis(stack.settings.redis_url) as other:
        assert ear is not None
        Bell(other).ring([])
        Bell(other).ring([new_id(), job_id])
        assert ear.wait(30), "at once, not after half a minute"
    wait_for(lambda: broker.pubsub_numsub(channel)[0][1] == 0, "an end of listening")


@pytest.fixture
def listener(stack: Stack) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(stack.settings.redis_url, client_name=LISTENER, decode_responses=True) as client:
        yield client


def _listeners(broker: redis.Redis) -> set[str]:
    """The connections of ``listener``."""
    return {client["id"] for client in broker.client_list() if client["name"] == LISTENER}


def test_one_connection_serves_those_who_wait_one_after_another(broker: redis.Redis, listener: redis.Redis) -> None:
    bell, jobs, used = Bell(listener), [new_id() for _ in range(3)], set[str]()
    for job_id in jobs:
        with bell.listening(str(job_id)) as ear:
            assert ear is not None
            Bell(broker).ring(jobs)  # also for those that nobody waits for any more
            assert ear.wait(30)
            used |= _listeners(broker)
    assert len(used) == 1
    channels = [f"ticketflow:ended:{job_id}" for job_id in jobs]
    wait_for(lambda: not any(count for _, count in broker.pubsub_numsub(*channels)), "an end of listening")


def test_what_was_cut_meanwhile_is_not_listened_on(broker: redis.Redis, listener: redis.Redis) -> None:
    bell, job_id = Bell(listener), new_id()
    with bell.listening(str(new_id())) as ear:
        assert ear is not None
    for cut in _listeners(broker):
        broker.client_kill_filter(_id=cut)
    with bell.listening(str(job_id)) as ear:
        assert ear is not None
        Bell(broker).ring([job_id])
        assert ear.wait(30)


def test_only_a_few_connections_are_kept(broker: redis.Redis, listener: redis.Redis) -> None:
    bell = Bell(listener)
    with ExitStack() as many:
        assert all([many.enter_context(bell.listening(str(new_id()))) for _ in range(KEPT + 5)])
        assert len(_listeners(broker)) == KEPT + 5
    wait_for(lambda: len(_listeners(broker)) == KEPT, "an end of five connections")
    listener.close()
    wait_for(lambda: not _listeners(broker), "an end of all")


def test_without_redis_a_waiting_program_looks_by_itself(stack: Stack, producer: Producer) -> None:
    job = producer.enqueue("complete", {"prompt": "x"}, provider=PROVIDER)
    nowhere = connect_redis("redis://127.0.0.1:1/0", 0.2)
    with Bell(nowhere).listening(job.job_id) as ear:
        assert ear is None
    Bell(nowhere).ring([UUID(job.job_id)])
    alone = JobHandle(producer.ledger, Bell(nowhere), job.job_id, "complete")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(alone.wait, 30)
        work = WorkLedger(producer.database, f"w-{os.getpid()}")
        work.renew_lease(60)
        (claim,) = work.claim([UUID(job.job_id)])
        work.record([Settlement(claim.job_id, claim.fence, "failed", 1, None, "X", "x")])
        assert waiting.result(30).state == "failed"
