"""Jobs that are asked for again: under the same key, or as another revision of the same thing."""

import asyncio
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row

from config.database import Database
from config.errors import ConflictError, InvalidInputError, JobFailedError, NewerRevisionError
from config.providers import parse_provider
from config.redis_link import connect_redis
from jobs.acceptance import Accepted, accept
from jobs.ids import new_id
from jobs.kind import NewJob
from jobs.kinds import KINDS
from jobs.ledger import Ledger
from jobs.records import CallStart, Claim, Origin, Release, Settlement
from jobs.selection import Selection
from jobs.terms import Target, Terms
from jobs.work import WorkLedger
from producer.handles import JobHandle
from producer.producer import Producer
from tests.conftest import Stack
from tests.integration.test_command import Command
from tests.integration.test_guides import commands
from tests.support.fault_server import Exchange, FaultServerThread, answer
from tests.support.waiting import wait_for
from tests.support.workers import ROOT, WorkerProcess

TARGET = Target("complete", "groq")
ORIGIN = Origin("groq", 7, 3, "some-model")
REPLY = {"choices": [{"message": {"content": "four"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}
SUPERSEDED = NewerRevisionError.__name__


@pytest.fixture
def producer(stack: Stack) -> Iterator[Producer]:
    with Producer(stack.settings) as producer:
        yield producer


@pytest.fixture
def work(producer: Producer) -> WorkLedger:
    work = WorkLedger(producer.database, "worker-1")
    work.renew_lease(60)
    return work


def ask(producer: Producer, prompt: str = "p", **more: Any) -> JobHandle:
    return producer.enqueue("complete", {"prompt": prompt}, **({"provider": "groq"} | more))


def revised(producer: Producer, revision: int, **more: Any) -> JobHandle:
    return ask(producer, f"r{revision}", **({"supersede_key": "T-1", "revision": revision} | more))


def claim(work: WorkLedger, handle: JobHandle) -> Claim:
    (claimed,) = work.claim([UUID(handle.job_id)])
    return claimed


def messages(stack: Stack) -> int:
    client = connect_redis(stack.settings.redis_url)
    try:
        return int(client.llen("interactive"))
    finally:
        client.close()


def test_a_key_is_answered_with_the_first_job(stack: Stack, producer: Producer) -> None:
    first, again = ask(producer, idempotency_key="k"), ask(producer, idempotency_key="k")
    assert (first.is_new, again.is_new, again.job_id) == (True, False, first.job_id)
    assert messages(stack) == 1, "no second hint"
    assert ask(producer, idempotency_key="other").job_id != first.job_id
    assert ask(producer).job_id != ask(producer).job_id, "without a key each is a job of its own"


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "SECRET"},
        {"provider": "openai"},
        {"model": "m"},
        {"supersede_key": "T-1", "revision": 2},
    ],
)
def test_a_key_stands_for_one_question(producer: Producer, change: dict[str, Any]) -> None:
    first = ask(producer, idempotency_key="k")
    with pytest.raises(ConflictError, match=f"asks something else .{first.job_id}") as caught:
        ask(producer, **({"idempotency_key": "k"} | change))
    assert "SECRET" not in str(caught.value)
    with pytest.raises(ConflictError):
        producer.enqueue("summarise_ticket", {"id": 1, "subject": "", "body": ""}, provider="groq", idempotency_key="k")


def test_a_key_is_known_whatever_became_of_the_job(producer: Producer, work: WorkLedger) -> None:
    first = ask(producer, idempotency_key="k")
    job = claim(work, first)
    work.record([Settlement(job.job_id, job.fence, "failed", 1, error_type="E", error_message="m")])
    again = ask(producer, idempotency_key="k")
    assert (again.job_id, again.is_new, again.status().state) == (first.job_id, False, "failed")


def test_one_key_in_many_threads(producer: Producer) -> None:
    start = threading.Barrier(8)

    def one(_: int) -> JobHandle:
        start.wait(10)
        return ask(producer, idempotency_key="k")

    with ThreadPoolExecutor(8) as threads:
        handles = list(threads.map(one, range(8)))
    assert len({handle.job_id for handle in handles}) == 1
    assert [handle.is_new for handle in handles].count(True) == 1


def test_one_key_in_several_processes(stack: Stack, producer: Producer, tmp_path: Path) -> None:
    ticketflow = Command(stack.operator_environment, tmp_path)
    command = ("enqueue", "complete", "--provider", "groq", "--idempotency-key", "k", "--json")

    def one(_: int) -> tuple[str, bool]:
        done = ticketflow(*command, given='{"prompt": "p"}')
        return done.document["job_id"], "was there already" in done.err

    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(one, range(3)))
    assert len({job_id for job_id, _ in found}) == 1
    assert sorted(repeated for _, repeated in found) == [False, True, True]
    assert messages(stack) == 1
    other = ticketflow(*command, given='{"prompt": "another"}')
    assert (other.status, other.document["error"]["type"]) == (2, "ConflictError")


@contextmanager
def accepting(producer: Producer, prompt: str, terms: Terms) -> Iterator[tuple[psycopg.Connection[Any], str]]:
    """Another process in the midst of accepting a job, and the job's id."""
    job = KINDS["complete"].accept({"prompt": prompt})
    row = {"id": new_id(), "custom_id": None, "kind": "complete", "provider_id": "groq", "model": None}
    more = {"queue": "interactive", "input": job.input, "reuse_s": None, "fallbacks": None, "fail_fast": False}
    with psycopg.connect(producer.settings.database_url, row_factory=dict_row) as connection:
        yield connection, str(accept(connection, row | more, terms).job_id)


def wait_for_one_who_waits(producer: Producer) -> None:
    sql = "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    wait_for(lambda: producer.database.query(sql)[0]["n"], "one who waits")


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_key_that_is_being_taken_is_waited_for(producer: Producer, end: str) -> None:
    """Its end decides whose it is."""
    with accepting(producer, "p", Terms("k")) as (other, job_id), ThreadPoolExecutor(1) as threads:
        asked = threads.submit(ask, producer, idempotency_key="k")
        wait_for_one_who_waits(producer)
        getattr(other, end)()
        handle = asked.result(20)
    assert (handle.is_new, handle.job_id == job_id) == (end == "rollback", end == "commit")


@pytest.mark.parametrize(("theirs", "ours"), [(1, 2), (2, 1)])
def test_a_revision_that_is_being_accepted_is_waited_for(producer: Producer, theirs: int, ours: int) -> None:
    with accepting(producer, "p", Terms(None, "T-1", theirs)) as (other, job_id), ThreadPoolExecutor(1) as threads:
        asked = threads.submit(revised, producer, ours)
        wait_for_one_who_waits(producer)
        other.commit()
        states = {theirs: producer.job(job_id).status, ours: asked.result(20).status}
    assert (states[1]().state, states[2]().state) == ("cancelled", "queued")


def test_a_newer_revision_drops_the_one_that_waits(producer: Producer, work: WorkLedger) -> None:
    old, new = revised(producer, 1), revised(producer, 2)
    dropped, kept = old.status(), new.status()
    assert (dropped.state, dropped.superseded_by, dropped.stale) == ("cancelled", new.job_id, False)
    assert dropped.error is not None
    assert (dropped.error.type, new.job_id in dropped.error.message) == (SUPERSEDED, True)
    assert (kept.state, kept.revision, kept.superseded_by) == ("queued", 2, None)
    assert work.claim([UUID(old.job_id)]) == []
    with pytest.raises(JobFailedError, match=SUPERSEDED):
        old.result(1)


def test_other_keys_and_other_kinds_are_left_alone(producer: Producer) -> None:
    ticket = {"id": 1, "subject": "", "body": ""}
    others = [
        revised(producer, 1, supersede_key="T-2"),
        producer.enqueue("summarise_ticket", ticket, provider="groq", supersede_key="T-1", revision=1),
        ask(producer),
    ]
    revised(producer, 2)
    assert {job.status().state for job in others} == {"queued"}


def test_an_older_revision_that_comes_late_is_dropped_at_once(stack: Stack, producer: Producer) -> None:
    new = revised(producer, 9)
    late = revised(producer, 3)
    job = late.status()
    assert (job.state, job.superseded_by, job.attempts, late.is_new) == ("cancelled", new.job_id, 0, True)
    assert (job.error and job.error.type, new.status().state, messages(stack)) == (SUPERSEDED, "queued", 1)


def test_the_same_revision_is_the_job_that_is_there(stack: Stack, producer: Producer) -> None:
    first, again = revised(producer, 1), revised(producer, 1)
    assert (again.job_id, again.is_new, messages(stack)) == (first.job_id, False, 1)
    new = revised(producer, 2)
    assert (revised(producer, 1).job_id, new.status().state) == (first.job_id, "queued"), "also once it is superseded"


def test_a_running_revision_becomes_stale_and_its_result_is_kept(producer: Producer, work: WorkLedger) -> None:
    old = revised(producer, 1)
    job = claim(work, old)
    new = revised(producer, 2)
    assert (old.status().state, old.status().stale, old.status().superseded_by) == ("running", True, new.job_id)
    assert work.asked_back() == [(job.job_id, job.fence, False)], "it makes no further call"
    assert work.record([Settlement(job.job_id, job.fence, "succeeded", 1, '{"text": "x"}', origin=ORIGIN)]) == [True]
    ended = old.status()
    assert (ended.state, ended.result, ended.stale) == ("succeeded", {"text": "x"}, True)


@pytest.mark.parametrize("how", ["released", "lost"])
def test_a_stale_revision_does_not_run_again(producer: Producer, work: WorkLedger, how: str) -> None:
    old = revised(producer, 1)
    job = claim(work, old)
    work.begin_calls([CallStart(job.job_id, job.fence, 1, ORIGIN)])
    new = revised(producer, 2)
    if how == "released":
        assert work.record([Release(job.job_id, job.fence, 1, 5.0, 10, 20)]) == [True]
    else:
        work.renew_lease(-1)
        assert sum(len(hint.job_ids) for hint in WorkLedger(producer.database, "other").mend_lost(3)[0]) == 1
    ended = old.status()
    assert (ended.state, ended.stale, ended.superseded_by, ended.attempts) == ("cancelled", True, new.job_id, 1)
    assert (ended.error and ended.error.type, ended.done, ended.finished_at is None) == (SUPERSEDED, True, False)
    assert ended.usage.output_tokens == (20 if how == "released" else 0)
    assert work.claim([job.job_id]) == []


class SlowServer(FaultServerThread):
    """A provider that answers at once, but the first revision not before it may, and then with that status."""

    def __init__(self, status: int = 200) -> None:
        super().__init__(self._answer)
        self.may_answer, self._status = threading.Event(), status

    async def _answer(self, exchange: Exchange) -> None:
        if b"r1" not in exchange.body:
            await answer(REPLY)(exchange)
            return
        await asyncio.to_thread(self.may_answer.wait, 30)
        await answer(REPLY, self._status, retry_after=600)(exchange)

    def added_by(self, producer: Producer) -> dict[str, Any]:
        url = {"base_url": f"{self.url}/v1", "default_model": "m", "type": "openai-compatible"}
        producer.providers.add(parse_provider({"id": "custom-slow", "name": "S", **url}))
        return {"provider": "custom-slow"}


def test_a_stale_revision_of_a_dead_worker_is_not_called_for_again(
    stack: Stack, producer: Producer, tmp_path: Path
) -> None:
    quick = {**stack.worker_environment, "TICKETFLOW_SWEEP_INTERVAL_S": "0.3"}
    with SlowServer() as server:
        slow = server.added_by(producer)
        with WorkerProcess(quick, tmp_path / "first.log") as first:
            old = revised(producer, 1, **slow)
            wait_for(lambda: producer.ledger.calls(old.job_id), "a call in flight")
            new = revised(producer, 2, **slow)
            first.kill()
        producer.database.query("UPDATE workers SET lease_until = now() - interval '1 second'")  # as time would
        server.may_answer.set()
        with WorkerProcess(quick, tmp_path / "second.log"):
            assert (old.wait(30).state, new.wait(30).state) == ("cancelled", "succeeded")
    assert (old.status().stale, old.status().superseded_by) == (True, new.job_id)
    assert [call.outcome for call in producer.ledger.calls(old.job_id)] == ["lost"]


@pytest.mark.parametrize(("status", "state"), [(200, "succeeded"), (503, "cancelled")])
def test_what_becomes_of_the_call_of_a_stale_revision(
    stack: Stack, producer: Producer, tmp_path: Path, status: int, state: str
) -> None:
    """Its answer is kept; when it fails, it is not tried again."""
    with SlowServer(status) as server, WorkerProcess(stack.worker_environment, tmp_path / "worker.log"):
        slow = server.added_by(producer)
        old = revised(producer, 1, **slow)
        wait_for(lambda: producer.ledger.calls(old.job_id), "a call in flight")
        assert revised(producer, 2, **slow).wait(20).state == "succeeded", "the newer one does not wait for it"
        server.may_answer.set()
        ended = old.wait(20)
    assert (ended.state, ended.stale, len(producer.ledger.calls(old.job_id))) == (state, True, 1)
    assert (ended.error and ended.error.type) == (SUPERSEDED if status == 503 else None)


def test_a_revision_that_has_ended_stays_as_it_is_and_is_not_run_again(producer: Producer, work: WorkLedger) -> None:
    old = revised(producer, 1)
    job = claim(work, old)
    work.record([Settlement(job.job_id, job.fence, "succeeded", 1, '{"text": "x"}', origin=ORIGIN)])
    before = old.status()
    new = revised(producer, 2)
    assert old.status() == before.model_copy(update={"superseded_by": new.job_id})
    assert (before.state, before.stale) == ("succeeded", False)
    assert producer.rerun(Selection()) == 0
    third = revised(producer, 3)
    assert producer.rerun(Selection(states=("cancelled",))) == 0, "nor is one that was dropped"
    assert old.status().superseded_by == new.job_id
    assert new.status().superseded_by == third.job_id


def test_a_key_and_a_revision_together(producer: Producer) -> None:
    first = revised(producer, 1, idempotency_key="a")
    new = revised(producer, 2, idempotency_key="b")
    assert revised(producer, 1, idempotency_key="a").job_id == first.job_id
    assert revised(producer, 2, idempotency_key="c").job_id == new.job_id, "the revision is there, whatever the key"
    with pytest.raises(ConflictError):
        revised(producer, 3, idempotency_key="b")
    assert new.status().state == "queued", "a conflict changes nothing"
    with pytest.raises(InvalidInputError, match="give both"):
        ask(producer, supersede_key="T-1")


def test_the_commands_of_the_guide_run(stack: Stack, producer: Producer, tmp_path: Path) -> None:
    ticketflow = Command(stack.operator_environment, tmp_path)
    ticket = '{"id": "4711", "subject": "s", "body": "b"}'
    for name in ("ticket.json", "tickets.jsonl"):
        (tmp_path / name).write_text(ticket)
    found = commands((ROOT / "docs" / "howto" / "reuse.md").read_text(encoding="utf-8"), "ticketflow")
    assert len(found) > 3
    for arguments in found:
        done = ticketflow(*arguments)
        assert done.status == 0, f"{arguments}: {done.err}"


def test_revisions_in_any_order_and_at_once_while_workers_claim(producer: Producer) -> None:
    """Each is run, dropped or stale; the newest alone is none of the latter; the answers say what the ledger says."""
    database = Database(producer.settings.database_url, "many", size=10)
    ledger, works = Ledger(database), [WorkLedger(database, f"w{n}") for n in range(2)]
    numbers = [n for n in range(1, 41) for _ in range(2)]
    random.Random(7).shuffle(numbers)
    start, claimed = threading.Barrier(6), dict[UUID, int]()

    def some(part: int) -> list[Accepted]:
        start.wait(10)
        found = []
        for number in numbers[part::4]:
            terms = Terms(supersede_key="T-1", revision=number)
            found.append(ledger.accept_on(TARGET, NewJob("{}", str(number)), terms))
        return found

    done = threading.Event()

    def run(work: WorkLedger) -> None:
        start.wait(10)
        while not done.is_set():
            waiting = database.query("SELECT id FROM jobs WHERE state = 'queued'")
            claimed.update({job.job_id: job.fence for job in work.claim([row["id"] for row in waiting])})

    with ThreadPoolExecutor(6) as threads:
        running = [threads.submit(run, work) for work in works]
        try:
            accepted = [one for part in threads.map(some, range(4)) for one in part]
        finally:
            done.set()
        for each in running:
            each.result(20)
    sql = "SELECT id, revision, state, stale, superseded_by FROM jobs ORDER BY revision"
    jobs = {row["id"]: row for row in database.query(sql)}
    database.close()
    assert [row["revision"] for row in jobs.values()] == list(range(1, 41))
    assert sum(one.is_new for one in accepted) == 40
    assert {one.job_id for one in accepted} == set(jobs)
    newest = jobs.pop(list(jobs)[-1])
    assert (newest["state"] in ("queued", "running"), newest["stale"], newest["superseded_by"]) == (True, False, None)
    for job_id, row in jobs.items():
        assert (row["state"], row["stale"]) == (("running", True) if job_id in claimed else ("cancelled", False))
        assert {**jobs, newest["id"]: newest}[row["superseded_by"]]["revision"] > row["revision"]
