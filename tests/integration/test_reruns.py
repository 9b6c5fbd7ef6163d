"""Jobs by what they have in common, and run again: what went through a broken endpoint, what failed, whole batches."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.errors import UnknownNameError
from jobs.kind import NewJob
from jobs.kinds import KINDS
from jobs.selection import SelectedJobs, Selection
from producer.producer import Producer
from tests.conftest import Stack
from tests.integration.test_command import Command
from tests.support.llm_server import LLMServer
from tests.support.providers import add_local
from tests.support.workers import WorkerProcess


@pytest.fixture
def producer(stack: Stack) -> Iterator[Producer]:
    with Producer(stack.settings) as producer:
        yield producer


def prompts(count: int) -> list[NewJob]:
    return [KINDS["complete"].accept({"prompt": f"p{n}"}, f"c{n}") for n in range(count)]


def texts(jobs: Any) -> set[str]:
    return {job.result["text"] for job in jobs}


def test_everything_that_went_through_the_broken_endpoint(stack: Stack, producer: Producer, tmp_path: Path) -> None:
    ticketflow = Command(stack.operator_environment, tmp_path)
    with LLMServer() as broken, LLMServer() as good, WorkerProcess(stack.worker_environment, tmp_path / "w.log"):
        broken.scenario([{"type": "reply", "text": "lorem ipsum", "times": None}])
        good.scenario([{"type": "reply", "text": "an answer", "times": None}])
        first = add_local(producer, good, "custom-moving")
        kept = producer.submit_batch("complete", prompts(5), provider="custom-moving")
        kept.wait(20)
        bad = producer.providers.change("custom-moving", {"base_url": broken.openai_url})
        batch = producer.submit_batch("complete", prompts(30), provider="custom-moving")
        single = producer.enqueue("complete", {"prompt": "x"}, provider="custom-moving")
        assert (batch.wait(20).succeeded, single.wait(20).state) == (30, "succeeded")
        assert texts(batch.jobs()) == {"lorem ipsum"}
        before = batch.status()
        last = producer.providers.change("custom-moving", {"base_url": good.openai_url})
        assert first < bad < last

        which = ("--provider", "custom-moving", "--generation", f"{bad}..{bad}")
        listed = ticketflow("jobs", "list", *which, "--json").document
        assert listed["counts"] == {"succeeded": 31}
        assert {job["provider_generation"] for job in listed["jobs"]} == {bad}
        assert "31 succeeded; 30 not shown" in ticketflow("jobs", "list", *which, "--limit", "1").out
        refused = ticketflow("jobs", "rerun", *which)
        assert (refused.status, "31 succeeded" in refused.err, "--yes" in refused.err) == (2, True, True)
        assert ticketflow("jobs", "rerun", *which, "--yes", "--json").document == {"queued": 31}
        after = batch.wait(20)
        assert (after.state, after.succeeded, after.failed, after.running) == ("succeeded", 30, 0, 0)
        assert single.wait(20).provider_generation == last
        assert texts([*batch.jobs(), single.status()]) == {"an answer"}
        assert [job.attempts for job in batch.jobs()] == [2] * 30, "both calls are on record"
        assert after.output_tokens > before.output_tokens > 0, "both calls stay counted"
        assert [job.attempts for job in kept.jobs()] == [1] * 5, "what went through the good endpoint is left alone"
        assert ticketflow("jobs", "rerun", *which, "--yes", "--json").document == {"queued": 0}


def test_failed_jobs_run_again_with_a_new_budget_of_attempts(stack: Stack, producer: Producer, tmp_path: Path) -> None:
    environment = stack.worker_environment | {"TICKETFLOW_MAX_ATTEMPTS": "2"}
    with LLMServer() as llm, WorkerProcess(environment, tmp_path / "worker.log"):
        add_local(producer, llm, "custom-moving")
        llm.scenario([{"type": "fail", "status": 500, "times": 2}])
        job = producer.enqueue("complete", {"prompt": "x"}, provider="custom-moving")
        assert (job.wait(20).state, job.status().attempts) == ("failed", 2)
        llm.scenario([{"type": "fail", "status": 500, "times": 1}])
        assert producer.rerun(Selection(states=("failed",), error_type="ProviderServerError")) == 1
        ended = job.wait(20)
        assert (ended.state, ended.attempts, ended.error) == ("succeeded", 4, None)
        outcomes = [call.outcome for call in producer.ledger.calls(job.job_id)]
        assert outcomes == [*["ProviderServerError"] * 3, "succeeded"]


def test_selections(producer: Producer) -> None:
    first = producer.submit_batch("complete", prompts(3), provider="groq")
    producer.enqueue("complete", {"prompt": "x"}, provider="openai")

    def counts(**asked: Any) -> dict[str, int]:
        return SelectedJobs(producer.database, Selection(**asked)).counts()

    assert counts() == {"queued": 4}
    assert counts(provider_id="groq") == counts(batch_id=first.batch_id) == {"queued": 3}
    assert counts(kind="summarise_ticket") == counts(states=()) == counts(generations=(1, 9)) == {}
    newest = SelectedJobs(producer.database, Selection()).newest(2)
    assert [job.provider_id for job in newest] == ["openai", "groq"]
    assert producer.rerun(Selection(provider_id="groq")) == 0, "what has not ended is left alone"
    with pytest.raises(UnknownNameError):
        counts(batch_id="nonsense")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("rerun", "--yes"), "say which jobs"),
        (("list", "--generation", "9..1"), "410..412"),
        (("list", "--generation", "x"), "410..412"),
        (("list", "--state", "done"), "no state named 'done'"),
        (("list", "--batch", "x"), "no batch named 'x'"),
    ],
)
def test_wrong_questions(stack: Stack, tmp_path: Path, arguments: tuple[str, ...], word: str) -> None:
    done = Command(stack.operator_environment, tmp_path)("jobs", *arguments, "--json")
    assert (done.status, word in json.loads(done.out)["error"]["message"]) == (2, True)
