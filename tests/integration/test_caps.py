"""Caps on cost: what is spent never passes them, whoever spends it and whatever fails; and what was spent is said."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from config.database import Database
from config.errors import BatchPausedError, ConflictError, UsageError
from jobs.kind import NewJob
from jobs.kinds import KINDS
from jobs.ledger import Ledger
from jobs.records import CallEnd, CallStart, Claim, Origin, Release, Room, Settlement, Verdict
from jobs.selection import Selection
from jobs.terms import Target
from jobs.work import WorkLedger
from producer.handles import BatchHandle
from producer.producer import Producer
from tests.conftest import Stack
from tests.integration.test_command import Command
from tests.support.llm_server import LLMServer
from tests.support.providers import STRUCTURED, add_local
from tests.support.waiting import wait_for
from tests.support.workers import WorkerProcess, living

PROVIDER = "custom-local"
TARGET = Target("complete", "groq", "some-model")
ORIGIN = Origin("groq", 7, 3, "some-model")
PRICES = {"input_usd_per_million": 1.0, "output_usd_per_million": 100.0}
MOST_USD = 0.0304
"""Of a call below: 300 tokens of output, and some 290 of input at most."""


@pytest.fixture
def producer(stack: Stack, llm: LLMServer) -> Iterator[Producer]:
    llm.reset()
    with Producer(stack.settings) as producer:
        add_local(producer, llm, PROVIDER, **STRUCTURED, **priced())
        yield producer


@pytest.fixture
def ticketflow(stack: Stack, tmp_path: Path) -> Command:
    return Command(stack.operator_environment, tmp_path)


def priced() -> dict[str, Any]:
    return {"models": [{"id": "gpt-4o", **PRICES}]}


def capped(ledger: Ledger, jobs: int, cap_usd: float | None) -> tuple[str, list[UUID]]:
    inputs = (NewJob(f'{{"prompt": "p{n}"}}', f"c{n}") for n in range(jobs))
    batch_id, _ = ledger.accept_batch(TARGET, inputs, max_cost_usd=cap_usd)
    return str(batch_id), [UUID(job.job_id) for job in ledger.jobs_of_batch(str(batch_id))]


def start(claim: Claim, usd: float | None, attempt: int = 1) -> CallStart:
    return CallStart(claim.job_id, claim.fence, attempt, ORIGIN, usd)


def ended(claim: Claim, usd: float, attempt: int = 1) -> tuple[CallEnd, Settlement]:
    end = CallEnd(claim.job_id, attempt, "succeeded", 200, 10, 5, usd)
    return end, Settlement(claim.job_id, claim.fence, "succeeded", attempt, '{"text": "x"}', cost_usd=usd)


def spent_usd(database: Database, batch_id: str) -> float:
    """By the calls themselves."""
    sql = "SELECT sum(c.cost_usd) AS usd FROM calls c JOIN jobs j ON j.id = c.job_id WHERE j.batch_id = %(id)s"
    return float(database.query(sql, {"id": batch_id})[0]["usd"] or 0)


def test_calls_begin_while_their_most_is_free(ledger: Ledger, work: WorkLedger) -> None:
    batch_id, ids = capped(ledger, 6, 1.0)
    claims = work.claim(ids)
    verdicts = work.begin_calls([start(claim, 0.4) for claim in claims[:3]])
    assert verdicts == ["begun", "begun", "wait"], "what the third takes may come free"
    assert work.begin_calls([start(claims[0], 0.4)]) == ["begun"], "an answer that was lost is given again, unpaid"
    assert work.room(UUID(batch_id)) == Room(0.2, 1.0)
    work.record(ended(claims[0], 0.1))
    assert work.begin_calls([start(claims[0], 0.4)]) == ["lost"], "it has ended"
    assert work.begin_calls([start(claims[2], 0.4), start(claims[3], 0.05)]) == ["begun", "begun"]
    assert ledger.batch(batch_id).state == "running"
    assert work.begin_calls([start(claims[4], 0.91)]) == ["paused"], "it would pass the cap if all others were free"
    assert work.begin_calls([start(claims[5], 0.05)]) == ["begun"], "what fits goes on to its end"
    batch = ledger.batch(batch_id)
    assert (batch.state, batch.pause_reason, batch.cost_usd, batch.max_cost_usd) == ("paused", "max-cost", 0.1, 1.0)
    assert work.room(UUID(batch_id)) is None
    assert "0.1000 of at most 1.0000 USD are spent" in (batch.pause or "")
    assert work.begin_calls([CallStart(claims[4].job_id, 99, 1, ORIGIN, 0.01)]) == ["lost"]


def test_a_cap_is_exact(ledger: Ledger, work: WorkLedger) -> None:
    batch_id, ids = capped(ledger, 20, 0.3)
    claims = work.claim(ids)
    assert work.begin_calls([start(claim, 0.1) for claim in claims[:3]]) == ["begun"] * 3, "in floats they are more"
    assert work.begin_calls([start(claims[3], 1e-9)]) == ["wait"]
    for claim in claims[:3]:
        work.record(ended(claim, 0.1))
    assert work.begin_calls([start(claims[3], 0.0)]) == ["begun"], "what costs nothing always fits"
    assert work.begin_calls([start(claims[4], 1e-9)]) == ["paused"]
    assert ledger.batch(batch_id).cost_usd == 0.3


def act(work: WorkLedger, draw: random.Random, claim: Claim, verdict: Verdict) -> None:
    """What a worker does with a job: gives back what may not begin; some calls are refused and tried again."""
    attempt = 1
    if verdict == "begun" and draw.random() < 0.2:
        work.record([CallEnd(claim.job_id, 1, "ProviderServerError", 503, cost_usd=0.0)])
        (verdict,) = work.begin_calls([start(claim, 0.05, attempt=2)])
        attempt = 2
    if verdict == "begun":
        work.record(ended(claim, draw.choice((0.01, 0.05)), attempt))
    else:
        work.record([Release(claim.job_id, claim.fence, attempt - 1)])


def test_many_processes_spend_one_cap(ledger: Ledger, database: Database) -> None:
    """Eight workers begin, end, retry and give back at once; somebody looks on."""
    batch_id, ids = capped(ledger, 800, 10.0)

    def run(part: int) -> None:
        draw, work = random.Random(part), WorkLedger(database, f"w{part}")
        work.renew_lease(60)
        for place in range(part, len(ids), 40):
            claims = work.claim(ids[place : place + 40 : 8])
            for claim, verdict in zip(claims, work.begin_calls([start(c, 0.05) for c in claims]), strict=True):
                act(work, draw, claim, verdict)

    seen_usd = []
    with ThreadPoolExecutor(8) as threads:
        running = [threads.submit(run, part) for part in range(8)]
        while not all(future.done() for future in running):
            seen_usd.append(spent_usd(database, batch_id))
    for future in running:
        future.result()
    batch = ledger.batch(batch_id)
    assert max(seen_usd) <= 10.0
    assert batch.cost_usd == spent_usd(database, batch_id)
    assert (batch.state, batch.pause_reason) == ("paused", "max-cost"), "more was asked for"
    assert 10.0 - 0.05 < (batch.cost_usd or 0) <= 10.0


def test_a_lost_call_may_have_been_paid(ledger: Ledger, database: Database, work: WorkLedger) -> None:
    """Its most stays counted; so do the tokens and the cost of calls that ended before under the same claim."""
    for cap_usd in (1.0, None):
        batch_id, ids = capped(ledger, 2, cap_usd)
        claims = work.claim(ids)
        work.begin_calls([start(claim, 0.3) for claim in claims])
        work.record([CallEnd(claims[0].job_id, 1, "InvalidOutputError", 200, 100, 50, 0.125)])
        work.begin_calls([start(claims[0], 0.3, attempt=2)])
        work.renew_lease(-1)
        assert sum(len(hint.job_ids) for hint in WorkLedger(database, "worker-2").mend_lost(3)[0]) == 2
        work.renew_lease(60)
        batch = ledger.batch(batch_id)
        assert (batch.cost_usd, batch.input_tokens, batch.output_tokens) == (0.725, 100, 50)
        assert [call.cost_usd for call in ledger.calls(str(claims[0].job_id))] == [0.125, 0.3]
        again = work.claim([claims[1].job_id])
        assert again[0].attempts == 1
        assert work.begin_calls([start(again[0], 0.28, attempt=2)]) == ["paused" if cap_usd else "begun"]
        work.record([Settlement(again[0].job_id, again[0].fence, "failed", 2)])


def test_an_unknown_price_pauses_what_has_a_cap_and_nothing_else(ledger: Ledger, work: WorkLedger) -> None:
    batch_id, ids = capped(ledger, 1, 1.0)
    assert work.begin_calls([start(work.claim(ids)[0], None)]) == ["paused"]
    assert ledger.batch(batch_id).pause_reason == "no-price"
    free_id, ids = capped(ledger, 2, None)
    claims = work.claim(ids)
    assert work.begin_calls([start(claim, None) for claim in claims]) == ["begun", "begun"]
    done = Settlement(claims[0].job_id, 1, "succeeded", 1, "{}")
    work.record([CallEnd(claims[0].job_id, 1, "succeeded", 200, 10, 5), done, *ended(claims[1], 0.25)])
    assert ledger.batch(free_id).cost_usd == 0.25


def test_a_batch_goes_on_with_more_money_alone(ledger: Ledger, work: WorkLedger) -> None:
    batch_id, ids = capped(ledger, 3, 1.0)
    claims = work.claim(ids)
    work.begin_calls([start(claims[0], 0.9)])
    work.record(ended(claims[0], 0.9))
    assert work.begin_calls([start(claims[1], 0.2)]) == ["paused"]
    for cap_usd in (None, 0.5, 1.0):
        with pytest.raises(ConflictError, match=r"0.9000 of at most 1.0000 USD are spent, .* --max-cost USD"):
            ledger.resume(batch_id, cap_usd)
    assert ledger.resume(batch_id, 1.2)
    assert (ledger.batch(batch_id).pause_reason, ledger.batch(batch_id).max_cost_usd) == (None, 1.2)
    assert ledger.pause(batch_id)
    assert ledger.batch(batch_id).pause is None, "a person did, and need not be told how to go on"
    with pytest.raises(ConflictError, match=r"are spent$"):
        ledger.resume(batch_id, 0.9)
    assert ledger.resume(batch_id)
    assert work.begin_calls([start(claims[1], 0.2)]) == ["begun"]
    work.record([*ended(claims[1], 0.2), Settlement(claims[2].job_id, claims[2].fence, "failed", 0)])
    assert ledger.resume(batch_id, 5.0) is False, "it has ended"


def prompts(jobs: int) -> Iterator[NewJob]:
    accept = KINDS["complete"].accept
    return (accept({"prompt": f"p{n:04}", "max_tokens": 300}, f"c{n}") for n in range(jobs))


def submitted(producer: Producer, jobs: int, cap_usd: float | None) -> BatchHandle:
    return producer.submit_batch("complete", prompts(jobs), provider=PROVIDER, max_cost_usd=cap_usd)


def quick(stack: Stack, **more: str) -> dict[str, str]:
    return stack.worker_environment | {"TICKETFLOW_SWEEP_INTERVAL_S": "0.3", "TICKETFLOW_SLICE_JOBS": "50"} | more


ANSWER = {"type": "reply", "text": "word " * 80, "times": None}
"""100 tokens as the server counts: a cent, of three that the call might have cost."""


def test_worker_processes_stop_short_of_a_cap_and_go_on_with_more(
    stack: Stack, producer: Producer, llm: LLMServer, ticketflow: Command, tmp_path: Path
) -> None:
    llm.scenario([ANSWER])
    with ExitStack() as workers:
        for number in range(3):
            workers.enter_context(WorkerProcess(quick(stack), tmp_path / f"{number}.log", ready=False))
        batch = submitted(producer, 400, 2.0)
        with pytest.raises(BatchPausedError, match=r"of at most 2.0000 USD are spent"):
            batch.wait(60)
        paused = batch.status()
        assert 2.0 - MOST_USD < (paused.cost_usd or 0) <= 2.0
        assert (paused.running, paused.failed) == (0, 0)
        each_usd = (paused.cost_usd or 0) / len(llm.requests())
        assert (paused.cost_usd or 0) == pytest.approx(paused.succeeded * each_usd), "nothing was paid twice"
        watched = ticketflow("batch", "watch", batch.batch_id)
        assert (watched.status, f"batch resume {batch.batch_id} --max-cost" in watched.err) == (1, True)
        shown = ticketflow("batch", "status", batch.batch_id, "--json")
        assert (shown.document["state"], shown.document["pause_reason"]) == ("paused", "max-cost")
        refused = ticketflow("batch", "resume", batch.batch_id, "--json")
        assert (refused.status, refused.document["error"]["type"]) == (2, "ConflictError")
        resumed = ticketflow("batch", "resume", batch.batch_id, "--max-cost", "4.5", "--json")
        assert (resumed.status, resumed.document["max_cost_usd"]) == (0, 4.5)
        done = batch.wait(60)
    assert (done.state, done.succeeded) == ("succeeded", 400)
    assert done.cost_usd == pytest.approx(400 * each_usd) == pytest.approx(spent_usd(producer.database, batch.batch_id))
    assert f"{done.cost_usd:.2f}" in ticketflow("batch", "list").out


def test_repairs_and_retries_count(stack: Stack, producer: Producer, llm: LLMServer, tmp_path: Path) -> None:
    ticket = {"id": "T-1", "subject": "Cannot log in", "body": "The login page says 500."}
    inputs = [KINDS["summarise_ticket"].accept(ticket | {"id": number}) for number in range(40)]
    llm.scenario([{"type": "reply", "text": "no JSON", "times": 10}, {"type": "fail", "status": 503, "times": 5}])
    with WorkerProcess(quick(stack), tmp_path / "worker.log"):
        batch = producer.submit_batch("summarise_ticket", inputs, provider=PROVIDER, max_cost_usd=100.0)
        done = batch.wait(60)
    assert (done.succeeded + done.failed, done.cost_usd) == (40, spent_usd(producer.database, batch.batch_id))
    calls = [call for job in batch.jobs() for call in producer.ledger.calls(job.job_id)]
    invalid = [call for call in calls if call.outcome == "InvalidOutputError"]
    assert len(invalid) == 10, "an answer of no use is no success"
    assert all(call.cost_usd for call in invalid), "and is paid for"
    assert {call.cost_usd for call in calls if call.outcome == "ProviderServerError"} == {0.0}


def test_running_again_is_held_against_the_same_cap(
    stack: Stack, producer: Producer, llm: LLMServer, tmp_path: Path
) -> None:
    llm.scenario([ANSWER])
    with WorkerProcess(quick(stack), tmp_path / "worker.log"):
        batch = submitted(producer, 10, 0.15)
        wait_for(lambda: batch.status().done, "an end")
        first_usd = batch.status().cost_usd or 0
        assert producer.rerun(Selection(batch_id=batch.batch_id)) == 10
        with pytest.raises(BatchPausedError):
            batch.wait(30)
    assert first_usd < (batch.status().cost_usd or 0) <= 0.15


def test_a_price_that_is_taken_away_pauses_and_is_asked_for(
    stack: Stack, producer: Producer, llm: LLMServer, ticketflow: Command, tmp_path: Path
) -> None:
    llm.scenario([ANSWER])
    batch = submitted(producer, 20, 1.0)
    producer.providers.change(PROVIDER, {"models": []})
    with WorkerProcess(quick(stack), tmp_path / "worker.log"):
        with pytest.raises(BatchPausedError, match="no price of the model is known any more"):
            batch.wait(30)
        assert (batch.status().pause_reason, llm.requests()) == ("no-price", [])
        refused = ticketflow("batch", "resume", batch.batch_id)
        assert (refused.status, "no price of gpt-4o is known" in refused.err) == (2, True)
        producer.providers.change(PROVIDER, priced())
        assert ticketflow("batch", "resume", batch.batch_id).status == 0
        assert batch.wait(30).succeeded == 20


def test_caps_that_make_no_sense(producer: Producer, ticketflow: Command, tmp_path: Path) -> None:
    for usd in (0.0, -1.0, float("nan"), float("inf"), 1e12):
        with pytest.raises(UsageError, match="an amount of USD"):
            submitted(producer, 1, usd)
    with pytest.raises(ConflictError, match=r"no price of .* is known, .* `ticketflow providers export` and `import`"):
        producer.submit_batch("complete", prompts(1), provider="groq", max_cost_usd=1.0)
    with pytest.raises(ConflictError, match="no price of openai/gpt-oss-20b is known"):
        producer.submit_batch("complete", prompts(1), provider=PROVIDER, fallbacks=["groq"], max_cost_usd=1.0)
    with pytest.raises(ConflictError, match="have no cost"):
        producer.submit_batch("list_models", [NewJob("{}")], provider=PROVIDER, max_cost_usd=1.0)
    (tmp_path / "in.jsonl").write_text('{"prompt": "x"}\n')
    submit = ("batch", "submit", "in.jsonl", "--kind", "complete", "--provider", PROVIDER, "--max-cost")
    assert [ticketflow(*submit, bad).status for bad in ("0", "-1", "nan", "inf", "five")] == [2] * 5
    assert producer.ledger.batches(1) == [], "nothing was enqueued"
    with pytest.raises(UsageError):
        producer.resume_batch(submitted(producer, 1, 1.0).batch_id, 0)


def test_a_worker_that_stops_does_not_wait_for_room(
    stack: Stack, producer: Producer, llm: LLMServer, tmp_path: Path
) -> None:
    """One call takes all of the money for long; the other jobs wait for what it leaves, and leave with the worker."""
    llm.scenario([{"type": "delay", "seconds": 60, "times": None}])
    environment = quick(stack, TICKETFLOW_SHUTDOWN_GRACE_S="1")
    with WorkerProcess(environment, tmp_path / "worker.log") as worker:
        batch = submitted(producer, 30, MOST_USD)
        wait_for(lambda: living(environment)[0].in_flight == 1, "a call")
        wait_for(lambda: batch.status().running == 30, "jobs that wait")
        worker.process.terminate()
        assert worker.process.wait(20) == 0, worker.log.read_text()
    status = batch.status()
    assert (status.running, status.queued) == (0, 30)
    assert [call.outcome for job in batch.jobs() for call in producer.ledger.calls(job.job_id)] == ["cancelled"]
    assert MOST_USD / 2 < (status.cost_usd or 0) <= MOST_USD, "it was cut off, and may have been paid"
