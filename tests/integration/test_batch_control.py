"""Batches and jobs while they run: cancelled, paused, resumed, retried, named; single jobs beside them."""

import fcntl
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO
from uuid import UUID

import psycopg
import pytest

from config.errors import ConflictError, InvalidInputError, UnknownNameError
from jobs.kind import NewJob
from jobs.kinds import KINDS
from jobs.records import Release
from jobs.work import WorkLedger
from producer.handles import BatchHandle
from producer.producer import Producer
from tests.conftest import Stack
from tests.integration.test_command import Command
from tests.support.fault_server import Exchange, FaultServerThread, hang
from tests.support.llm_server import LLMServer
from tests.support.providers import add_local
from tests.support.waiting import wait_for
from tests.support.workers import ROOT, WorkerProcess, clean_environment, living

PROVIDER = "custom-local"


@pytest.fixture
def producer(stack: Stack, llm: LLMServer) -> Iterator[Producer]:
    llm.reset()
    with Producer(stack.settings) as producer:
        add_local(producer, llm, PROVIDER)
        yield producer


@pytest.fixture
def ticketflow(stack: Stack, tmp_path: Path) -> Command:
    return Command(stack.operator_environment, tmp_path)


def prompts(count: int, word: str = "p") -> Iterator[NewJob]:
    return (KINDS["complete"].accept({"prompt": f"{word}{n}"}, f"c{n}") for n in range(count))


def submitted(producer: Producer, count: int) -> BatchHandle:
    return producer.submit_batch("complete", prompts(count), provider=PROVIDER)


def small(stack: Stack, **more: str) -> dict[str, str]:
    """A worker that has much to wait for."""
    return stack.worker_environment | {"TICKETFLOW_SLICE_JOBS": "10", "TICKETFLOW_CALLS_IN_FLIGHT": "20"} | more


def test_cancelling_a_batch_stops_its_calls(
    stack: Stack, producer: Producer, llm: LLMServer, ticketflow: Command, tmp_path: Path
) -> None:
    llm.scenario([{"type": "delay", "seconds": 60, "times": None}])
    with WorkerProcess(small(stack), tmp_path / "worker.log"):
        batch = submitted(producer, 300)
        wait_for(lambda: living(stack.operator_environment)[0].in_flight >= 10, "calls in flight")
        done = ticketflow("batch", "cancel", batch.batch_id, "--json").document
        assert done["cancelled"] + done["stopping"] == 300
        assert done["stopping"] > 0
        ended = batch.wait(10)
        wait_for(lambda: living(stack.operator_environment)[0].in_flight == 0, "an end of the calls", 5)
    assert (ended.state, ended.cancelled, ended.running, ended.queued) == ("cancelled", 300, 0, 0)
    outcomes = {call.outcome for job in batch.jobs() for call in producer.ledger.calls(job.job_id)}
    assert outcomes <= {"cancelled"}
    assert producer.ledger.cancel_batch(batch.batch_id) == (0, 0), "once is enough"
    with pytest.raises(UnknownNameError):
        producer.ledger.cancel_batch("nonsense")


def test_a_cancelled_job_that_comes_back_does_not_run_again(producer: Producer) -> None:
    """Its worker died, or put it back, between the wish and the deed."""
    batch = submitted(producer, 4)
    work = WorkLedger(producer.database, "test")
    work.renew_lease(60)
    claims = work.claim([UUID(job.job_id) for job in batch.jobs()])
    assert producer.ledger.cancel_batch(batch.batch_id) == (0, 4)
    assert all(work.record([Release(claim.job_id, claim.fence, 0) for claim in claims]))
    ended = batch.status()
    assert (ended.state, ended.cancelled, ended.done) == ("cancelled", 4, True)


def test_a_single_job_is_cancelled(
    stack: Stack, producer: Producer, llm: LLMServer, ticketflow: Command, tmp_path: Path
) -> None:
    waiting = producer.enqueue("complete", {"prompt": "x"}, provider=PROVIDER)
    assert ticketflow("jobs", "cancel", waiting.job_id, "--json").document["cancelled"] == 1
    assert waiting.status().state == "cancelled"
    llm.scenario([{"type": "delay", "seconds": 60, "times": None}])
    with WorkerProcess(small(stack), tmp_path / "worker.log"):
        running = producer.enqueue("complete", {"prompt": "x"}, provider=PROVIDER)
        wait_for(lambda: running.status().state == "running", "a running job")
        assert ticketflow("jobs", "cancel", running.job_id).out == "being stopped\n"
        assert running.wait(10).state == "cancelled"
    again = ticketflow("jobs", "cancel", running.job_id)
    assert (again.status, "has ended already" in again.err) == (2, True)


def test_cancelling_closes_the_connection_to_the_provider(
    stack: Stack, producer: Producer, tmp_path: Path, figures: list[str]
) -> None:
    """Seen from the provider's side, so that it need not go on with what nobody waits for."""
    gone = dict[int, float]()
    met = list[Exchange]()

    async def play(exchange: Exchange) -> None:
        met.append(exchange)
        await hang(exchange)
        gone[id(exchange)] = time.monotonic()

    with FaultServerThread(play) as slow, WorkerProcess(small(stack), tmp_path / "worker.log"):
        producer.providers.change(PROVIDER, {"base_url": f"{slow.url}/v1", "timeout_s": 300})
        single = producer.enqueue("complete", {"prompt": "x"}, provider=PROVIDER)
        batch = submitted(producer, 5)
        wait_for(lambda: len(met) == 6, "calls in flight")
        assert gone == {}
        asked = time.monotonic()
        producer.ledger.cancel_job(single.job_id)
        producer.ledger.cancel_batch(batch.batch_id)
        wait_for(lambda: len(gone) == 6, "closed connections")
        assert (single.wait(10).state, batch.wait(10).cancelled) == ("cancelled", 5)
    figures.append(f"cancelled calls: connections closed after {max(gone.values()) - asked:.2f} s at the latest")


def test_a_paused_batch_waits_and_goes_on(
    stack: Stack, producer: Producer, llm: LLMServer, ticketflow: Command, tmp_path: Path
) -> None:
    llm.scenario([{"type": "delay", "seconds": 0.5, "times": None}])
    with WorkerProcess(small(stack, TICKETFLOW_SWEEP_INTERVAL_S="0.3"), tmp_path / "worker.log"):
        batch = submitted(producer, 400)
        wait_for(lambda: batch.status().succeeded > 10, "progress")
        assert producer.ledger.pause(batch.batch_id)
        assert ticketflow("batch", "pause", batch.batch_id, "--json").document["state"] == "paused", "twice is no harm"
        wait_for(lambda: batch.status().running == 0, "an end of what ran")
        halted = batch.status().succeeded
        assert halted < 400
        beside = [producer.enqueue("complete", {"prompt": "x"}, provider=PROVIDER) for _ in range(5)]
        assert {job.wait(20).state for job in beside} == {"succeeded"}, "others go on"
        assert batch.status().succeeded == halted, "several rounds of the sweeper later"
        llm.reset()
        assert ticketflow("batch", "resume", batch.batch_id, "--json").document["state"] == "running"
        assert batch.wait(60).succeeded == 400
    late = ticketflow("batch", "pause", batch.batch_id)
    assert (late.status, "has ended already" in late.err) == (2, True)


def test_failed_jobs_of_a_batch_run_again(
    stack: Stack, producer: Producer, llm: LLMServer, ticketflow: Command, tmp_path: Path
) -> None:
    llm.scenario([{"type": "fail", "status": 400, "times": 7}])
    with WorkerProcess(small(stack), tmp_path / "worker.log"):
        batch = submitted(producer, 40)
        assert (batch.wait(30).state, batch.status().failed) == ("failed", 7)
        other = ticketflow("batch", "retry-failed", batch.batch_id, "--error", "ProviderAuthError", "--json")
        assert other.document["queued"] == 0
        again = ticketflow("batch", "retry-failed", batch.batch_id, "--json")
        assert again.document == {"batch_id": batch.batch_id, "queued": 7}
        assert (batch.wait(30).state, batch.status().succeeded) == ("succeeded", 40)
    (listed,) = ticketflow("batch", "list", "--json").document
    assert (listed["batch_id"], listed["state"]) == (batch.batch_id, "succeeded")
    assert batch.batch_id in ticketflow("batch", "list").out


def test_a_name_makes_a_submission_repeatable(producer: Producer, ticketflow: Command, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("".join(f'{{"prompt": "p{n}"}}\n' for n in range(20)))
    submit = ("batch", "submit", "in.jsonl", "--kind", "complete", "--provider", PROVIDER, "--name", "night", "--json")
    first, second = ticketflow(*submit), ticketflow(*submit)
    assert first.document["batch_id"] == second.document["batch_id"]
    assert "nothing was enqueued again" in second.err
    assert second.document["total"] == 20
    with (tmp_path / "in.jsonl").open("a") as more:
        more.write('{"prompt": "another"}\n')
    third = ticketflow(*submit)
    assert (third.status, third.document["error"]["type"]) == (2, "ConflictError")
    with pytest.raises(InvalidInputError, match="name: 1 to"):
        producer.submit_batch("complete", prompts(1), provider=PROVIDER, name="")


def test_a_name_is_taken_by_one_of_many(stack: Stack, producer: Producer) -> None:
    with ThreadPoolExecutor(4) as threads:
        handles = list(
            threads.map(
                lambda _: producer.submit_batch("complete", prompts(500), provider=PROVIDER, name="same"), range(4)
            )
        )
    assert len({handle.batch_id for handle in handles}) == 1
    assert [handle.is_new for handle in handles].count(True) == 1
    assert len(list(handles[0].jobs())) == 500
    with pytest.raises(ConflictError):
        producer.submit_batch("complete", prompts(500, "other"), provider=PROVIDER, name="same")


def unread_bytes(pipe: IO[str]) -> int:
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


@pytest.mark.parametrize("point", ["reading its file", "writing to Postgres"])
def test_a_submission_that_is_killed_leaves_nothing(
    stack: Stack, producer: Producer, tmp_path: Path, point: str
) -> None:
    """Half-way through its file, and with its transaction open."""
    fifo = tmp_path / "endless.jsonl"
    os.mkfifo(fifo)
    submit = ["batch", "submit", str(fifo), "--kind", "complete", "--provider", PROVIDER, "--name", "night"]
    command = subprocess.Popen(
        [sys.executable, "-m", "producer.commands", *submit],
        env=clean_environment(stack.operator_environment),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    open_copies = "SELECT count(*) AS n FROM pg_stat_activity WHERE query LIKE 'COPY jobs%%' AND state = 'active'"
    with psycopg.connect(stack.settings.database_url) as holder, fifo.open("w") as lines:
        holder.execute("LOCK TABLE jobs IN EXCLUSIVE MODE")  # who writes to it waits
        for number in range(5000):
            lines.write(f'{{"prompt": "p{number}"}}\n')
        lines.flush()
        wait_for(lambda: unread_bytes(lines) == 0, "a reader of all that there is so far")
        if point == "writing to Postgres":
            lines.close()
            wait_for(lambda: producer.database.query(open_copies)[0]["n"], "an open COPY")
        assert command.poll() is None
        command.send_signal(signal.SIGKILL)
        command.wait(10)
    assert producer.ledger.batches(10) == []
    batch = producer.submit_batch("complete", prompts(10), provider=PROVIDER, name="night")
    assert (batch.is_new, batch.status().total) == (True, 10)


def test_single_jobs_do_not_wait_behind_batches(
    stack: Stack, producer: Producer, llm: LLMServer, tmp_path: Path
) -> None:
    """Batches enough to fill every task thread and every slot for calls, all of them slow."""
    llm.scenario([{"type": "delay", "seconds": 8, "times": None}])
    environment = small(stack, TICKETFLOW_WORKER_CONCURRENCY="4", TICKETFLOW_SWEEP_INTERVAL_S="0.3")
    with WorkerProcess(environment, tmp_path / "worker.log"):
        batches = [submitted(producer, 120) for _ in range(3)]
        wait_for(lambda: living(stack.operator_environment)[0].in_flight >= 18, "all slots of batches in use")
        started = []
        for _ in range(2):
            job = producer.enqueue("complete", {"prompt": "now"}, provider=PROVIDER)
            accepted = time.monotonic()
            wait_for(lambda job=job: producer.ledger.calls(job.job_id), "a call", 20)  # type: ignore[misc]
            started.append(time.monotonic() - accepted)
        assert max(started) < 6, "before any slot of a batch was given back"
        llm.reset()
        for batch in batches:
            assert batch.wait(90).succeeded == 120, "declined slices are sent again"


def test_a_quote_sends_nothing_and_learns_from_what_was_paid(
    stack: Stack, producer: Producer, llm: LLMServer, ticketflow: Command, tmp_path: Path
) -> None:
    prices = [{"id": "gpt-4o", "input_usd_per_million": 1.0, "output_usd_per_million": 10.0}]
    producer.providers.change(PROVIDER, {"models": prices, "limits": {"requests_per_minute": 60}})
    (tmp_path / "in.jsonl").write_text("".join(f'{{"prompt": "p{n}"}}\n' for n in range(120)))
    ask = ("batch", "quote", "in.jsonl", "--kind", "complete", "--provider", PROVIDER, "--compare", "groq")
    first = ticketflow(*ask, "--json").document
    assert [quote["provider_id"] for quote in first] == [PROVIDER, "groq"]
    assert (first[0]["jobs"], first[0]["output_tokens"], first[0]["time_s"]) == (120, 120 * 512, 120.0)
    assert first[0]["binds"] == "requests_per_minute"
    assert (first[1]["cost_usd"], first[1]["time_s"]) == (None, None)
    assert (producer.ledger.batches(1), llm.requests()) == ([], [])
    producer.providers.change(PROVIDER, {"limits": {"requests_per_minute": None}})
    with WorkerProcess(small(stack), tmp_path / "worker.log"):
        done = submitted(producer, 20).wait(30)
    second = ticketflow(*ask, "--json").document[0]
    assert second["output_tokens"] == round(done.output_tokens / 20 * 120)
    assert 0 < second["cost_usd"] < first[0]["cost_usd"]
    shown = ticketflow(*ask)
    assert (shown.status, "no price is known" in shown.err, "groq" in shown.out) == (0, True, True)
