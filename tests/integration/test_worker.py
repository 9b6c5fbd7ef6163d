"""Real workers and real HTTP: one job per adapter, and what happens when keys, providers or processes fail."""

import json
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import redis

from config.broker import RUN_JOBS, make_app
from config.errors import JobFailedError
from config.keys import open_keys
from config.redis_link import connect_redis
from jobs.kind import NewJob
from jobs.kinds import KINDS
from jobs.kinds.summarise_ticket import TicketSummary
from producer.producer import Producer
from tests.conftest import Stack
from tests.support.llm_server import LLMServer
from tests.support.providers import STRUCTURED, add_local
from tests.support.waiting import wait_for
from tests.support.workers import WorkerProcess, living

KEY = "sk-test-secret-0123456789"
TICKET = {"id": "T-1", "subject": "Cannot log in", "body": "Since this morning the login page says 500. SECRETBODY"}
SUMMARY = {
    "title": "Login fails",
    "summary": "The login page answers 500.",
    "sentiment": "negative",
    "priority": "high",
    "action_items": ["look at the log"],
}


@pytest.fixture
def producer(stack: Stack, llm: LLMServer) -> Iterator[Producer]:
    llm.reset()
    with Producer(stack.settings) as producer:
        yield producer


def add_provider(producer: Producer, llm: LLMServer, provider_type: str = "openai-compatible", key: str = KEY) -> str:
    """A provider of a type at the local server, under an id of its own, since Vault is shared by the session."""
    provider_id = f"custom-{os.urandom(6).hex()}"
    add_local(producer, llm, provider_id, provider_type, timeout_s=10, **STRUCTURED)
    if key:
        open_keys(producer.settings).store(provider_id, key)
    return provider_id


def prompts(count: int) -> list[NewJob]:
    return [KINDS["complete"].accept({"prompt": f"prompt {n}"}, f"c{n}") for n in range(count)]


@pytest.mark.parametrize(
    ("provider_type", "gemini_sdk"),
    [
        ("openai-compatible", "google-genai"),
        ("groq", "google-genai"),
        ("gemini", "google-genai"),
        ("gemini", "google-generativeai"),
    ],
)
def test_one_job_per_adapter(
    stack: Stack, producer: Producer, llm: LLMServer, tmp_path: Path, provider_type: str, gemini_sdk: str
) -> None:
    provider_id = add_provider(producer, llm, provider_type)
    environment = {**stack.worker_environment, "TICKETFLOW_GEMINI_SDK": gemini_sdk}
    llm.scenario([{"type": "reply", "text": json.dumps(SUMMARY)}, {"type": "reply", "text": "four"}])
    with WorkerProcess(environment, tmp_path / "worker.log") as worker:
        handle = producer.enqueue("summarise_ticket", TICKET, provider=provider_id)
        assert handle.result(timeout_s=30) == TicketSummary.model_validate(SUMMARY)
        plain = producer.enqueue("complete", {"prompt": "two and two?", "max_tokens": 9}, provider=provider_id)
        assert plain.result(timeout_s=30).text == "four"
    job = handle.status()
    assert (job.state, job.attempts, job.key_version, job.custom_id) == ("succeeded", 1, 1, "T-1")
    assert job.provider_generation == producer.registry.resolve(provider_id).generation
    assert job.usage.input_tokens > 0
    assert job.usage.output_tokens > 0
    assert len(llm.requests()) == 2, "one call a job"
    assert "Cannot log in" in json.dumps(llm.requests()[0])
    log = worker.log.read_text()
    assert KEY not in log
    assert "SECRETBODY" not in log
    assert worker.process.returncode == 0


def test_errors_of_providers_become_typed_errors_of_jobs(
    stack: Stack, producer: Producer, llm: LLMServer, tmp_path: Path
) -> None:
    with_key = add_provider(producer, llm)
    rejected = {"type": "fail", "status": 400, "times": 1}
    garbage = {"type": "reply", "text": "this is no JSON", "times": 2}
    recovers = {"type": "fail", "status": 503, "times": 1}
    with WorkerProcess(stack.worker_environment, tmp_path / "worker.log"):

        def outcome(kind: str, data: dict[str, str], *behaviors: dict[str, object]) -> tuple[str | None, int]:
            llm.reset()
            llm.scenario(list(behaviors))
            job = producer.enqueue(kind, data, provider=with_key).wait(30)
            return (job.error.type if job.error else None), len(llm.requests())

        assert outcome("complete", {"prompt": "x"}, rejected) == ("ProviderRejectedError", 1)
        assert outcome("complete", {"prompt": "x"}, recovers) == (None, 2)
        assert outcome("summarise_ticket", TICKET, garbage) == ("InvalidOutputError", 2)
        assert outcome("summarise_ticket", TICKET, {**garbage, "times": 1}) == (None, 2), "repaired by one more call"
        refused = outcome("complete", {"prompt": "x"}, {"type": "fail", "status": 401, "times": None})
        assert refused == ("ProviderAuthError", 2), "the key is read afresh once"


def test_a_missing_key_says_what_to_run_and_a_later_key_serves(
    stack: Stack, producer: Producer, llm: LLMServer, tmp_path: Path
) -> None:
    with WorkerProcess(stack.worker_environment, tmp_path / "worker.log"):
        job = producer.enqueue("complete", {"prompt": "x"}, provider="groq")
        with pytest.raises(JobFailedError, match="no key for provider groq: run `ticketflow providers set-key groq`"):
            job.result(timeout_s=20)
        assert job.status().attempts == 0, "no call was made"
        local = add_provider(producer, llm, key="")
        assert producer.enqueue("complete", {"prompt": "x"}, provider=local).wait(20).key_version is None
        version = open_keys(producer.settings).store(local, KEY)

        def key_version() -> int | None:
            return producer.enqueue("complete", {"prompt": "x"}, provider=local).wait(20).key_version

        assert wait_for(key_version, "call with the new key") == version


def test_a_removed_or_unknown_provider_fails_its_jobs_with_a_reason(
    stack: Stack, producer: Producer, llm: LLMServer, tmp_path: Path
) -> None:
    provider_id = add_provider(producer, llm)
    job = producer.enqueue("complete", {"prompt": "x"}, provider=provider_id)
    producer.providers.remove(provider_id)
    with WorkerProcess(stack.worker_environment, tmp_path / "worker.log"):
        ended = job.wait(20)
    assert ended.error is not None
    assert ended.error.type == "ProviderDisabledError"
    assert llm.requests() == []


def _holds(environment: dict[str, str], generation: int) -> bool:
    return living(environment)[0].generation >= generation


def test_a_worker_follows_the_registry_without_a_restart(
    stack: Stack, producer: Producer, llm: LLMServer, tmp_path: Path
) -> None:
    with WorkerProcess(stack.worker_environment, tmp_path / "worker.log"):
        for _ in range(3):
            provider_id = add_provider(producer, llm)
            generation = producer.registry.check()
            wait_for(partial(_holds, stack.worker_environment, generation), "newer generation")
            assert producer.enqueue("complete", {"prompt": "x"}, provider=provider_id).wait(20).state == "succeeded"


def test_a_killed_worker_costs_seconds_and_no_job(
    stack: Stack, producer: Producer, llm: LLMServer, tmp_path: Path
) -> None:
    provider_id = add_provider(producer, llm)
    quick = {**stack.worker_environment, "TICKETFLOW_LEASE_S": "1.5", "TICKETFLOW_SWEEP_INTERVAL_S": "0.3"}
    llm.scenario([{"type": "delay", "seconds": 8, "times": 20}])
    batch = producer.submit_batch("complete", prompts(40), provider=provider_id)
    with WorkerProcess(quick, tmp_path / "first.log") as first:
        wait_for(lambda: len(llm.requests()) >= 20, "calls in flight")
        first.kill()
    with WorkerProcess(quick, tmp_path / "second.log"):
        done = batch.wait(60)
    assert (done.succeeded, done.failed, done.running) == (40, 0, 0)
    lost = [call for job in batch.jobs() for call in producer.ledger.calls(job.job_id) if call.outcome == "lost"]
    assert lost, "what was paid for in vain is counted"
    assert sum(job.attempts for job in batch.jobs()) == 40 + len(lost)


def test_sigterm_ends_a_worker_within_its_grace_and_loses_nothing(
    stack: Stack, producer: Producer, llm: LLMServer, tmp_path: Path
) -> None:
    provider_id = add_provider(producer, llm)
    environment = {**stack.worker_environment, "TICKETFLOW_SHUTDOWN_GRACE_S": "1", "TICKETFLOW_CALLS_IN_FLIGHT": "5"}
    llm.scenario([{"type": "delay", "seconds": 6, "times": 5}])
    batch = producer.submit_batch("complete", prompts(20), provider=provider_id)
    with WorkerProcess(environment, tmp_path / "first.log") as first:
        wait_for(lambda: len(llm.requests()) >= 5, "calls in flight")
        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait(10) == 0, first.log.read_text()
    status = batch.status()
    assert (status.running, status.failed) == (0, 0), "all that was not done is back in the queue"
    assert living(environment) == []
    with WorkerProcess(environment, tmp_path / "second.log"):
        assert batch.wait(40).succeeded == 20


def test_an_emptied_broker_and_foreign_messages(
    stack: Stack, producer: Producer, llm: LLMServer, tmp_path: Path
) -> None:
    provider_id = add_provider(producer, llm)
    environment = {**stack.worker_environment, "TICKETFLOW_SWEEP_INTERVAL_S": "0.3"}
    batch = producer.submit_batch("complete", prompts(30), provider=provider_id)
    single = producer.enqueue("complete", {"prompt": "x"}, provider=provider_id)
    client: redis.Redis = connect_redis(stack.settings.redis_url)
    client.flushdb()
    client.close()
    app = make_app(stack.settings)
    app.send_task(RUN_JOBS, args=[provider_id, ["no-id", 7, single.job_id]], queue="interactive")
    app.send_task(RUN_JOBS, args=["only one"], queue="bulk")
    app.send_task("ticketflow.of_the_future", args=[1], queue="bulk")
    app.close()
    with WorkerProcess(environment, tmp_path / "worker.log") as worker:
        assert batch.wait(40).succeeded == 30
        assert single.wait(20).state == "succeeded"
        assert worker.process.poll() is None


def test_a_batch_larger_than_its_share_of_the_broker(
    stack: Stack, producer: Producer, llm: LLMServer, tmp_path: Path
) -> None:
    provider_id = add_provider(producer, llm)
    small = {"TICKETFLOW_SLICE_JOBS": "10", "TICKETFLOW_SLICES_PER_BATCH": "2"}
    with Producer(stack.settings.model_copy(update={"slice_jobs": 10, "slices_per_batch": 2})) as own:
        batch = own.submit_batch("complete", prompts(150), provider=provider_id)
        client = connect_redis(stack.settings.redis_url)
        assert client.llen("bulk") == 2, "the rest waits in the ledger"
        client.close()
        with WorkerProcess({**stack.worker_environment, **small}, tmp_path / "worker.log"):
            assert batch.wait(40).succeeded == 150
        assert [job.custom_id for job in batch.jobs()] == [f"c{n}" for n in range(150)]


def test_a_prefork_worker_runs_jobs_too(stack: Stack, producer: Producer, llm: LLMServer, tmp_path: Path) -> None:
    provider_id = add_provider(producer, llm)
    with WorkerProcess(stack.worker_environment, tmp_path / "worker.log", pool="processes") as worker:
        batch = producer.submit_batch("complete", prompts(20), provider=provider_id)
        assert batch.wait(40).succeeded == 20
        assert worker.process.pid not in {p.pid for p in living(stack.worker_environment)}, "its children do the work"
