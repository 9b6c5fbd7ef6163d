"""A provider that does not answer: another one does, or the job waits, or fails at once; real workers and servers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.errors import ConflictError, InvalidInputError, UnknownNameError
from config.keys import open_keys
from jobs.kind import NewJob
from jobs.kinds import KINDS
from producer.producer import Producer
from tests.conftest import Stack
from tests.integration.test_command import Command
from tests.support.llm_server import LLMServer
from tests.support.providers import add_local
from tests.support.waiting import wait_for
from tests.support.workers import WorkerProcess

FIRST, SECOND = "custom-first", "custom-second"
PROMPT = {"prompt": "x"}
DOWN = {"type": "fail", "status": 503, "times": None}


@pytest.fixture(scope="module")
def servers_of_models() -> Iterator[tuple[LLMServer, LLMServer]]:
    with LLMServer() as first, LLMServer() as second:
        yield first, second


@pytest.fixture
def first(servers_of_models: tuple[LLMServer, LLMServer]) -> LLMServer:
    servers_of_models[0].reset()
    return servers_of_models[0]


@pytest.fixture
def second(servers_of_models: tuple[LLMServer, LLMServer]) -> LLMServer:
    servers_of_models[1].reset()
    return servers_of_models[1]


@pytest.fixture
def producer(stack: Stack, first: LLMServer, second: LLMServer) -> Iterator[Producer]:
    with Producer(stack.settings) as producer:
        for provider_id, server, model in ((FIRST, first, "gpt-4o"), (SECOND, second, "gpt-4o-mini")):
            add_local(producer, server, provider_id, default_model=model, max_attempts=2)
        yield producer


@pytest.fixture
def worker(stack: Stack, tmp_path: Path) -> Iterator[WorkerProcess]:
    quick = {"TICKETFLOW_SWEEP_INTERVAL_S": "0.5", "TICKETFLOW_SLICE_JOBS": "50"}
    with WorkerProcess(stack.worker_environment | quick, tmp_path / "worker.log") as worker:
        yield worker


@pytest.fixture
def ticketflow(stack: Stack, tmp_path: Path) -> Command:
    return Command(stack.operator_environment, tmp_path)


def prompts(count: int) -> Iterator[NewJob]:
    return (KINDS["complete"].accept({"prompt": f"p{n}"}, f"c{n}") for n in range(count))


def outcomes(producer: Producer, job_id: str) -> list[tuple[str, str | None]]:
    return [(call.provider_id, call.outcome) for call in producer.ledger.calls(job_id)]


def circuits(ticketflow: Command) -> dict[str, str]:
    listed: list[dict[str, Any]] = ticketflow("providers", "list", "--json").document["providers"]
    return {provider["id"]: provider["circuit"] for provider in listed}


def test_the_next_one_answers_and_the_result_says_why(
    producer: Producer, first: LLMServer, worker: WorkerProcess, ticketflow: Command, tmp_path: Path
) -> None:
    first.scenario([DOWN])
    job = producer.enqueue("complete", PROMPT, provider=FIRST, model="gpt-4o", fallbacks=[SECOND]).wait(30)
    assert (job.state, job.provider_id, job.answered_by, job.fallbacks) == ("succeeded", FIRST, SECOND, (SECOND,))
    assert job.fallback_reason == f"ProviderServerError: {FIRST} answered 503 (service_unavailable)"
    assert job.model == "gpt-4o-mini", "a fallback's own"
    down = (FIRST, "ProviderServerError")
    assert outcomes(producer, job.job_id) == [down, down, (SECOND, "succeeded")]
    calls = producer.ledger.calls(job.job_id)
    assert [call.wait_ms is None for call in calls] == [True, False, False]
    shown = ticketflow("jobs", "show", job.job_id).out
    for part in ("fallback_reason", "answered_by", "WAITED MS", "ProviderServerError", "503"):
        assert part in shown
    (tmp_path / "in.json").write_text('{"prompt": "x"}')
    named = ("--provider", FIRST, "--fallback", f"groq,{SECOND}", "--input", "in.json", "--wait", "30", "--json")
    through = ticketflow("enqueue", "complete", *named).document
    assert (through["answered_by"], through["fallbacks"]) == (SECOND, ["groq", SECOND]), "groq has no key"


@pytest.mark.parametrize(
    ("fault", "error", "second_is_asked"),
    [
        ({"type": "fail", "status": 401, "times": None}, "ProviderAuthError", True),
        ({"type": "fail", "status": 429, "retry_after": 60, "times": None}, "ProviderRateLimitedError", True),
        ({"type": "fail", "status": 400, "times": None}, "ProviderRejectedError", False),
        ({"type": "fail", "status": 404, "times": None}, "ProviderRejectedError", True),
    ],
)
def test_only_where_another_one_can_help(
    producer: Producer,
    first: LLMServer,
    second: LLMServer,
    worker: WorkerProcess,
    fault: dict[str, Any],
    error: str,
    second_is_asked: bool,
) -> None:
    first.scenario([fault])
    job = producer.enqueue("complete", PROMPT, provider=FIRST, fallbacks=[SECOND]).wait(30)
    if second_is_asked:
        assert (job.state, job.answered_by) == ("succeeded", SECOND)
        assert (job.fallback_reason or "").startswith(f"{error}: {FIRST}")
    else:
        assert (job.state, job.error and job.error.type, job.fallback_reason) == ("failed", error, None)
        assert second.requests() == []


def test_where_none_answers_the_last_error_stands(
    producer: Producer, first: LLMServer, second: LLMServer, worker: WorkerProcess
) -> None:
    producer.providers.change(FIRST, {"enabled": True, "max_attempts": 1})
    job = producer.enqueue("complete", PROMPT, provider="groq", fallbacks=[FIRST, SECOND])
    first.scenario([DOWN])
    second.scenario([{"type": "fail", "status": 401, "times": None}])
    ended = job.wait(30)
    assert ended.error is not None
    assert (ended.state, ended.error.type, ended.answered_by) == ("failed", "ProviderAuthError", None)
    assert (ended.fallback_reason or "").startswith("KeyMissingError: no key for provider groq")


def test_a_batch_has_fallbacks_too(
    producer: Producer, first: LLMServer, worker: WorkerProcess, ticketflow: Command, tmp_path: Path
) -> None:
    producer.providers.change(FIRST, {"max_attempts": 1})
    first.scenario([DOWN])
    (tmp_path / "in.jsonl").write_text("".join(f'{{"prompt": "p{n}"}}\n' for n in range(10)))
    named = ("--kind", "complete", "--provider", FIRST, "--fallback", SECOND)
    done = ticketflow("batch", "submit", "in.jsonl", *named, "--wait", "--json").document
    assert done["succeeded"] == 10
    assert {job.answered_by for job in producer.batch(done["batch_id"]).jobs()} == {SECOND}


def test_fallbacks_are_checked_when_they_are_given(producer: Producer, ticketflow: Command) -> None:
    producer.providers.change(SECOND, {"enabled": False})
    for fallbacks, refusal in (
        (["nobody"], UnknownNameError),
        ([FIRST], InvalidInputError),
        (["groq", "groq"], InvalidInputError),
        ([SECOND], ConflictError),
    ):
        with pytest.raises(refusal):
            producer.enqueue("complete", PROMPT, provider=FIRST, fallbacks=fallbacks)
        with pytest.raises(refusal):
            producer.submit_batch("complete", prompts(1), provider=FIRST, fallbacks=fallbacks)
    with pytest.raises(InvalidInputError, match="looks at one provider"):
        producer.enqueue("check_provider", {}, provider=FIRST, fallbacks=["groq"])
    with pytest.raises(InvalidInputError, match="when_down: one of wait, fail"):
        producer.enqueue("complete", PROMPT, provider=FIRST, when_down="later")  # type: ignore[arg-type]
    assert (
        ticketflow("enqueue", "complete", "--provider", FIRST, "--fallback", "nobody", "--input", "/dev/null").status
        == 2
    )
    assert producer.database.query("SELECT count(*) AS n FROM jobs") == [{"n": 0}]


def test_a_provider_that_is_down_is_left_alone(
    producer: Producer, first: LLMServer, worker: WorkerProcess, ticketflow: Command
) -> None:
    """A batch waits for it and loses nothing; who waits for a single job has the choice."""
    producer.providers.change(FIRST, {"max_attempts": None})
    first.scenario([DOWN])
    batch = producer.submit_batch("complete", prompts(120), provider=FIRST)
    wait_for(lambda: circuits(ticketflow)[FIRST] == "open", "an open circuit")
    other = producer.enqueue("complete", PROMPT, provider=FIRST, fallbacks=[SECOND]).wait(20)
    assert other.answered_by == SECOND
    doctor = {found["check"]: found for found in ticketflow("doctor", "--json").document}
    assert FIRST in doctor["circuits"]["detail"]
    wait_for(lambda: batch.status().running == 0, "a batch that waits")

    def refused() -> bool:  # unless it is the one that tries the provider
        job = producer.enqueue("complete", PROMPT, provider=FIRST, when_down="fail").wait(20)
        assert job.error is not None
        return job.error.type == "ProviderUnavailableError" and job.attempts == 0

    wait_for(refused, "a job that fails at once")
    waiting = producer.enqueue("complete", PROMPT, provider=FIRST)
    assert batch.status().failed == 0
    first.reset()
    assert batch.wait(60).succeeded == 120
    assert waiting.wait(30).state == "succeeded"
    log = worker.log.read_text()
    for words in ("calls failed; it is left alone for 5 s", "one call tries it", "it works again"):
        assert f"{FIRST}: " in log
        assert words in log


def test_a_job_is_not_tried_for_longer_than_it_may_be(
    producer: Producer, first: LLMServer, worker: WorkerProcess
) -> None:
    producer.providers.change(FIRST, {"max_attempts": 50, "total_time_s": 2.0})
    first.scenario([DOWN])
    job = producer.enqueue("complete", PROMPT, provider=FIRST).wait(30)
    assert job.error is not None
    assert (job.error.type, job.attempts < 50) == ("ProviderServerError", True)


def test_a_check_ends_it(producer: Producer, first: LLMServer, worker: WorkerProcess, ticketflow: Command) -> None:
    open_keys(producer.settings).store(FIRST, "sk-test")
    first.scenario([DOWN])
    batch = producer.submit_batch("complete", prompts(60), provider=FIRST)
    wait_for(lambda: circuits(ticketflow)[FIRST] == "open", "an open circuit")
    producer.ledger.cancel_batch(batch.batch_id)
    batch.wait(20)
    first.reset()
    assert ticketflow("providers", "check", FIRST).status == 0
    wait_for(lambda: circuits(ticketflow)[FIRST] == "closed", "a closed circuit")
