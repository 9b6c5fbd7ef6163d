"""Results that serve again: found by what was asked, at no cost; on real workers and real HTTP."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from config.errors import InvalidInputError
from jobs.ids import new_id
from jobs.kind import NewJob
from jobs.kinds import KINDS
from jobs.ledger import Ledger
from jobs.records import Earlier, Origin, Settlement, Wanted
from jobs.selection import Selection
from jobs.terms import Target
from jobs.work import WorkLedger
from producer.handles import JobHandle
from producer.producer import Producer
from tests.conftest import Stack
from tests.integration.test_command import Command
from tests.support.llm_server import LLMServer
from tests.support.providers import STRUCTURED, add_local
from tests.support.workers import WorkerProcess

PROVIDER, TWIN = "custom-local", "custom-twin"
ORIGIN = Origin("groq", 7, 3, "some-model")
HOUR_S, WEEK_S = 3600.0, 7 * 86_400.0


@pytest.fixture
def producer(stack: Stack, llm: LLMServer) -> Iterator[Producer]:
    llm.reset()
    with Producer(stack.settings) as producer:
        for name in (PROVIDER, TWIN):
            add_local(producer, llm, name, **STRUCTURED)
        yield producer


@pytest.fixture
def worker(stack: Stack, tmp_path: Path) -> Iterator[WorkerProcess]:
    with WorkerProcess(stack.worker_environment, tmp_path / "worker.log") as running:
        yield running


def ask(producer: Producer, prompt: str = "p", **more: Any) -> JobHandle:
    handle = producer.enqueue("complete", {"prompt": prompt}, **({"provider": PROVIDER} | more))
    assert handle.wait(20).state == "succeeded"
    return handle


def prompts(count: int) -> Iterator[NewJob]:
    return (KINDS["complete"].accept({"prompt": f"p{n}"}, f"c{n}") for n in range(count))


def test_what_was_answered_serves_again_at_no_cost(producer: Producer, worker: WorkerProcess, llm: LLMServer) -> None:
    first = ask(producer).status()
    again = ask(producer, reuse_s=HOUR_S)
    job = again.status()
    assert (job.reused_from, job.result, job.attempts) == (first.job_id, first.result, 0)
    assert (job.usage.input_tokens, job.usage.output_tokens, producer.ledger.calls(job.job_id)) == (0, 0, [])
    origin = (first.provider_generation, first.key_version, "gpt-4o")
    assert (job.provider_generation, job.key_version, job.model) == origin
    assert again.result(1).text == (first.result or {})["text"]
    third = ask(producer, reuse_s=HOUR_S, model="gpt-4o", custom_id="mine", provider=TWIN).status()
    assert third.reused_from == first.job_id, "the original, never a copy; the default model by its name, at whichever"
    assert len(llm.requests()) == 1


def test_what_differs_or_did_not_ask_is_called_for(producer: Producer, worker: WorkerProcess, llm: LLMServer) -> None:
    ask(producer)
    others: list[dict[str, Any]] = [{}, {"prompt": "q", "reuse_s": HOUR_S}, {"model": "gpt-4o-mini", "reuse_s": HOUR_S}]
    assert [ask(producer, **other).status().reused_from for other in others] == [None] * 3
    hotter = {"prompt": "p", "temperature": 1.0}
    handle = producer.enqueue("complete", hotter, provider=PROVIDER, reuse_s=HOUR_S)
    assert handle.wait(20).reused_from is None
    assert len(llm.requests()) == 5


def test_a_result_grows_too_old_and_must_fit(producer: Producer, worker: WorkerProcess, llm: LLMServer) -> None:
    first = ask(producer)
    producer.database.query("UPDATE jobs SET finished_at = now() - interval '2 hours'")
    second = ask(producer, reuse_s=HOUR_S)
    assert second.status().reused_from is None
    assert ask(producer, reuse_s=3 * HOUR_S).status().reused_from == second.job_id, "the newest"
    producer.database.query("UPDATE jobs SET result = '{\"words\": 1}' WHERE id <> %(id)s", {"id": first.job_id})
    assert ask(producer, reuse_s=HOUR_S).status().reused_from is None, "what an older version of the kind made"
    assert len(llm.requests()) == 3
    assert "does not fit any more" in worker.log.read_text()


def test_a_failed_job_serves_nobody(producer: Producer, worker: WorkerProcess, llm: LLMServer) -> None:
    llm.scenario([{"type": "fail", "status": 400, "times": 1}])
    bad = producer.enqueue("complete", {"prompt": "p"}, provider=PROVIDER, reuse_s=HOUR_S)
    assert bad.wait(20).state == "failed"
    good = ask(producer, reuse_s=HOUR_S)
    assert good.status().reused_from is None
    assert producer.rerun(Selection(states=("failed",))) == 1
    assert bad.wait(20).reused_from == good.job_id, "what failed still takes a result that is there"


def test_the_same_file_again(
    stack: Stack, producer: Producer, worker: WorkerProcess, llm: LLMServer, tmp_path: Path
) -> None:
    ticketflow = Command(stack.operator_environment, tmp_path)
    tickets = [{"id": n, "subject": f"s{n}", "body": "b", "channel": n} for n in range(40)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(ticket) + "\n" for ticket in tickets))
    submit = ("batch", "submit", "in.jsonl", "--kind", "summarise_ticket", "--provider", PROVIDER, "--results")
    first = ticketflow(*submit, "first.jsonl", "--json").document
    assert (first["succeeded"], first["reused"], len(llm.requests())) == (40, 0, 40)
    changed = [*tickets[:39], {**tickets[39], "body": "changed"}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(ticket | {"channel": "x"}) + "\n" for ticket in changed))
    done = ticketflow(*submit, "second.jsonl", "--reuse", "7d", "--json")
    second = done.document
    assert (second["succeeded"], second["reused"], len(llm.requests())) == (40, 39, 41)
    assert "39 reused" in done.err
    assert 0 < second["output_tokens"] < first["output_tokens"] / 10, "of the one call"

    def lines(name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]

    paid = {job["custom_id"]: job for job in lines("first.jsonl")}
    for job in lines("second.jsonl"):
        if job["custom_id"] != "39":
            original = paid[job["custom_id"]]
            assert (job["reused_from"], job["result"]) == (original["job_id"], original["result"])
    assert ticketflow("batch", "status", second["batch_id"], "--json").document["reused"] == 39


def test_what_is_run_again_is_really_done(producer: Producer, worker: WorkerProcess, llm: LLMServer) -> None:
    producer.submit_batch("complete", prompts(5), provider=PROVIDER).wait(20)
    batch = producer.submit_batch("complete", prompts(5), provider=PROVIDER, reuse_s=HOUR_S)
    assert (batch.wait(20).reused, len(llm.requests())) == (5, 5)
    assert producer.rerun(Selection(batch_id=batch.batch_id)) == 5
    ended = batch.wait(20)
    assert (ended.succeeded, ended.reused, len(llm.requests())) == (5, 0, 10)
    assert {job.reused_from for job in batch.jobs()} == {None}
    newest = {job.job_id for job in batch.jobs()}
    third = producer.submit_batch("complete", prompts(5), provider=PROVIDER, reuse_s=HOUR_S)
    assert third.wait(20).reused == 5
    assert {job.reused_from for job in third.jobs()} == newest


def test_the_newest_of_each_content_is_found(producer: Producer) -> None:
    ledger, work = Ledger(producer.database), WorkLedger(producer.database, "w")
    contents = [new_id() for _ in range(4)]
    ids = list[UUID]()
    for number, content in enumerate([*contents[:3], contents[0]]):
        job_id = ledger.accept(Target("complete", "groq"), NewJob("{}"))
        (claim,) = work.claim([job_id])
        text = f'{{"text":"{number}"}}'
        work.record(
            [Settlement(job_id, claim.fence, "succeeded", 1, text, origin=ORIGIN, content_key=content)],
        )
        ids.append(job_id)
    producer.database.query("UPDATE jobs SET finished_at = now() - interval '1 day' WHERE id = %(id)s", {"id": ids[1]})
    wanted = [Wanted(contents[n], HOUR_S) for n in (3, 1, 0, 2, 0)]
    newest, other = Earlier(ids[3], '{"text":"3"}', ORIGIN), Earlier(ids[2], '{"text":"2"}', ORIGIN)
    assert work.earlier_results(wanted) == [None, None, newest, other, newest]
    assert work.earlier_results([Wanted(contents[1], WEEK_S)]) == [Earlier(ids[1], '{"text":"1"}', ORIGIN)]


@pytest.mark.parametrize("reuse_s", [0.0, -1.0, float("nan"), float("inf"), 1e12])
def test_ages_that_cannot_be(producer: Producer, reuse_s: float) -> None:
    with pytest.raises(InvalidInputError, match="reuse_s: more than 0"):
        producer.enqueue("complete", {"prompt": "p"}, provider=PROVIDER, reuse_s=reuse_s)
    with pytest.raises(InvalidInputError, match="reuse_s: more than 0"):
        producer.submit_batch("complete", prompts(1), provider=PROVIDER, reuse_s=reuse_s)
    with pytest.raises(InvalidInputError, match="look for themselves"):
        producer.enqueue("check_provider", {}, provider=PROVIDER, reuse_s=HOUR_S)


@pytest.mark.parametrize("age", ["", "7", "7 days", "0d"])
def test_ages_on_the_command_line(stack: Stack, tmp_path: Path, age: str) -> None:
    ticketflow = Command(stack.operator_environment, tmp_path)
    done = ticketflow("enqueue", "complete", "--provider", "groq", "--reuse", age, given='{"prompt": "p"}')
    assert (done.status, "such as 30m, 12h or 7d" in done.err) == (2, True)
