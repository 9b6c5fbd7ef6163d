"""Many producers at once, and services at their limits: what was accepted ends, what was refused has left nothing."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import psycopg
import pytest
import redis

from config.errors import ServiceUnavailableError
from config.redis_link import CONNECTIONS, connect_redis
from config.redis_names import INTERACTIVE_QUEUE
from jobs.hints import Hint
from jobs.ids import new_id
from jobs.kind import NewJob
from jobs.kinds import KINDS
from jobs.records import Settlement
from jobs.statements import statement
from jobs.terms import Target
from jobs.views import Job
from jobs.work import WorkLedger
from producer.producer import Producer
from tests.conftest import Stack
from tests.support.llm_server import LLMServer
from tests.support.providers import add_local
from tests.support.waiting import wait_for
from tests.support.workers import ROOT, WorkerProcess, clean_environment, living

PROVIDER = "custom-load"
MANY = 200
Answer = TypeVar("Answer")

# A program of its own: fifty Producers, each in a thread, as many as a web application of fifty small processes has.
FIFTY_PRODUCERS = f"""
import json, sys, threading
from concurrent.futures import ThreadPoolExecutor
from config.errors import ServiceUnavailableError
from producer import Producer

start = threading.Barrier(50)

def enqueue(number):
    with Producer.from_env() as producer:
        start.wait(60)
        try:
            return producer.enqueue("complete", {{"prompt": f"p{{number}}"}}, provider="{PROVIDER}").job_id, None
        except ServiceUnavailableError as error:
            return None, str(error)

with ThreadPoolExecutor(50) as threads:
    print(json.dumps(list(threads.map(enqueue, range(50)))))
"""


@pytest.fixture
def producer(stack: Stack, llm: LLMServer) -> Iterator[Producer]:
    llm.reset()
    with Producer(stack.settings) as producer:
        add_local(producer, llm, PROVIDER)
        yield producer


@pytest.fixture
def broker(stack: Stack) -> Iterator[redis.Redis]:
    client = connect_redis(stack.settings.redis_url)
    yield client
    client.config_set("maxmemory", 0)
    client.close()


def prompts(count: int) -> Iterator[NewJob]:
    return (KINDS["complete"].accept({"prompt": f"p{n}"}, f"c{n}") for n in range(count))


def at_once(work: Callable[[int], Answer]) -> list[Answer]:
    """What comes of the same work in many threads that begin together."""
    start = threading.Barrier(MANY)

    def begin(number: int) -> Answer:
        start.wait(30)
        return work(number)

    with ThreadPoolExecutor(MANY) as threads:
        return list(threads.map(begin, range(MANY)))


def rows(producer: Producer) -> int:
    (row,) = producer.database.query("SELECT (SELECT count(*) FROM jobs) + (SELECT count(*) FROM batches) AS n")
    return int(row["n"])


def test_200_threads_share_one_producer(stack: Stack, producer: Producer, tmp_path: Path) -> None:
    with WorkerProcess(stack.worker_environment, tmp_path / "worker.log"), Producer(stack.settings) as shared:

        def run(number: int) -> Job:
            return shared.enqueue("complete", {"prompt": f"p{number}"}, provider=PROVIDER).wait(60)

        jobs = at_once(run)
    assert {job.state for job in jobs} == {"succeeded"}
    assert rows(producer) == len({job.job_id for job in jobs}) == MANY


def test_threads_that_come_at_once_try_postgres_once(
    stack: Stack, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start and after an outage: not each with a connection of its own beside the pool."""
    lock, now, most = threading.Lock(), 0, 0
    connect = psycopg.connect

    def counted(*arguments: object, **more: object) -> object:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        try:
            return connect(*arguments, **more)  # type: ignore[arg-type]
        finally:
            with lock:
                now -= 1

    monkeypatch.setattr(psycopg, "connect", counted)
    with Producer(stack.settings) as fresh:
        assert at_once(lambda _: fresh.database.query("SELECT 1 AS one")) == [[{"one": 1}]] * MANY
    assert most == 1


def test_200_producers_in_four_programs(stack: Stack, producer: Producer, tmp_path: Path, figures: list[str]) -> None:
    """Together they may want more connections than there are: each job is accepted, or refused without a trace."""
    with WorkerProcess(stack.worker_environment, tmp_path / "worker.log"), ExitStack() as programs:
        command, environment = [sys.executable, "-c", FIFTY_PRODUCERS], clean_environment(stack.operator_environment)
        running = [
            programs.enter_context(subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE))
            for _ in range(MANY // 50)
        ]
        answers = [answer for program in running for answer in json.loads(program.communicate(timeout=100)[0])]
        accepted = {job_id for job_id, _ in answers if job_id}
        assert len(answers) == MANY
        assert accepted
        assert all("Postgres" in refusal for job_id, refusal in answers if not job_id), answers
        for job_id in accepted:
            assert producer.job(job_id).wait(60).state == "succeeded"
    assert rows(producer) == len(accepted), "a job that was refused is not there"
    figures.append(f"200 producers at once, each with its own connections: {MANY - len(accepted)} refused")


@contextmanager
def all_connections_taken(url: str) -> Iterator[None]:
    with ExitStack() as held:
        with suppress(psycopg.OperationalError):
            while True:
                held.enter_context(psycopg.connect(url))
        yield


def test_a_postgres_without_a_free_connection(stack: Stack, producer: Producer) -> None:
    with Producer(stack.settings) as late:
        late.registry.refresh()
        with all_connections_taken(stack.settings.database_url):
            with pytest.raises(ServiceUnavailableError, match=r"Postgres .*connections are taken.*max_connections"):
                late.enqueue("complete", {"prompt": "x"}, provider=PROVIDER)
            with pytest.raises(ServiceUnavailableError, match="max_connections"):
                late.submit_batch("complete", prompts(5), provider=PROVIDER)
        assert rows(producer) == 0
        assert late.enqueue("complete", {"prompt": "x"}, provider=PROVIDER).status().state == "queued"


def test_a_pool_whose_connections_are_all_in_use(producer: Producer) -> None:
    """Others hold them; who finds none is told so, and the next who finds one is served."""
    with ExitStack() as held:
        for _ in range(4):
            held.enter_context(producer.database.transaction())
        with pytest.raises(ServiceUnavailableError, match="none of this process' 4 connections was free"):
            producer.enqueue("complete", {"prompt": "x"}, provider=PROVIDER)
    assert rows(producer) == 0
    producer.enqueue("complete", {"prompt": "x"}, provider=PROVIDER)
    assert rows(producer) == 1


def test_a_broker_at_its_memory_limit_takes_no_job(stack: Stack, producer: Producer, broker: redis.Redis) -> None:
    broker.config_set("maxmemory", 1)
    assert broker.ping(), "which is why no ping tells"
    with pytest.raises(ServiceUnavailableError, match=r"Redis .*memory limit"):
        producer.enqueue("complete", {"prompt": "x"}, provider=PROVIDER)
    with pytest.raises(ServiceUnavailableError, match=r"Redis .*memory limit"):
        producer.submit_batch("complete", prompts(5), provider=PROVIDER)
    assert rows(producer) == 0
    broker.config_set("maxmemory", 0)
    producer.enqueue("complete", {"prompt": "x"}, provider=PROVIDER)
    assert rows(producer) == 1
    assert not broker.exists("ticketflow:probe"), "the question leaves nothing behind"


def test_a_broker_that_fills_up_after_the_question(producer: Producer, broker: redis.Redis) -> None:
    """The job is in the ledger and so accepted; its message comes from a sweeper."""
    job_id = producer.ledger.accept(Target("complete", PROVIDER), next(prompts(1)))
    broker.config_set("maxmemory", 1)
    with pytest.raises(ServiceUnavailableError, match="memory limit"):
        producer._dispatch().send(Hint(PROVIDER, "interactive", (job_id,)))
    producer._send(lambda: producer._dispatch().send(Hint(PROVIDER, "interactive", (job_id,))))


def test_connections_to_redis_that_are_all_in_use(producer: Producer, broker: redis.Redis) -> None:
    """Redis answers nobody: the threads that have a connection wait, and the others are told within their patience."""
    with ExitStack() as held:
        pool = producer.redis.connection_pool
        assert isinstance(pool, redis.BlockingConnectionPool)
        pool.timeout = 0.1
        for _ in range(CONNECTIONS):
            held.callback(pool.release, pool.get_connection())  # type: ignore[no-untyped-call]
        with pytest.raises(ServiceUnavailableError, match=r"Redis .*none of this process' connections"):
            producer.enqueue("complete", {"prompt": "x"}, provider=PROVIDER)
    assert rows(producer) == 0
    producer.enqueue("complete", {"prompt": "x"}, provider=PROVIDER)


def test_workers_live_through_a_broker_at_its_memory_limit(
    stack: Stack, producer: Producer, llm: LLMServer, broker: redis.Redis, tmp_path: Path
) -> None:
    llm.scenario([{"type": "delay", "seconds": 0.2, "times": None}])
    few = {"TICKETFLOW_CALLS_IN_FLIGHT": "5", "TICKETFLOW_SLICE_JOBS": "5", "TICKETFLOW_SWEEP_INTERVAL_S": "0.5"}
    with WorkerProcess({**stack.worker_environment, **few}, tmp_path / "worker.log") as worker:
        batch = producer.submit_batch("complete", prompts(150), provider=PROVIDER)
        single = producer.enqueue("complete", {"prompt": "x"}, provider=PROVIDER)
        wait_for(lambda: batch.status().succeeded >= 5, "progress")
        broker.config_set("maxmemory", 1)
        wait_for(lambda: "memory" in worker.log.read_text(), f"a word about it: {worker.log.read_text()}")
        wait_for(lambda: not living(stack.worker_environment), "presence that is not announced any more")
        broker.config_set("maxmemory", 0)
        assert batch.wait(90).succeeded == 150
        assert single.wait(30).state == "succeeded"
        assert worker.process.poll() is None
    calls = sum(job.attempts for job in batch.jobs())
    assert calls == 150, "nothing is paid twice"
    assert UUID(single.job_id)


def rows_read(plan: dict[str, Any]) -> float:
    """Rows that all nodes of a plan have read, those included that their filters threw away."""
    own = (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    return float(own + sum(map(rows_read, plan.get("Plans", []))))


NOTHING: dict[str, Any] = {
    "ids": [],
    "providers": [],
    "along": [],
    "batch_ids": [],
    "batch_jobs": [],
    "worker_id": "w",
    "suspects": False,
}
"""What a claim asks for."""


def part(name: str, following: str) -> str:
    """One of the queries that a claim is made of."""
    return statement("claim").split(f"), {name} AS (")[1].split(f"), {following} AS (")[0]


def rows_of(producer: Producer, sql: str, given: dict[str, Any]) -> float:
    (row,) = producer.database.query(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", given)
    return rows_read(row["QUERY PLAN"][0]["Plan"])


def queue_up(producer: Producer, count: int) -> None:
    """Single jobs whose messages are lost, as fast as Postgres takes them."""
    with producer.database.transaction() as connection:
        sql = "COPY jobs (id, kind, provider_id, queue, input, sent_at) FROM STDIN"
        with connection.cursor().copy(sql) as copy:
            for n in range(count):
                prompt = json.dumps({"prompt": f"p{n}"})
                copy.write_row((new_id(), "complete", PROVIDER, INTERACTIVE_QUEUE, prompt, "2020-01-01"))


@pytest.mark.parametrize("analyzed", [False, True])
@pytest.mark.parametrize("providers", [[PROVIDER], [PROVIDER, "custom-none"]])
def test_a_claim_among_50000_reads_what_it_takes(producer: Producer, analyzed: bool, providers: list[str]) -> None:
    """Whatever Postgres knows of the table: the plan takes the order of the index, and reads no job too many."""
    queue_up(producer, 50_000)
    if analyzed:
        producer.database.query("ANALYZE jobs")
    given = {**NOTHING, "ids": [new_id()], "providers": providers, "along": [100] * len(providers)}
    assert rows_of(producer, part("along", "next"), given) < 2000
    assert len(producer.database.query(statement("claim"), given)) == 100


@pytest.mark.parametrize("analyzed", ["never", "before", "after"])
def test_the_next_jobs_of_a_large_batch_are_found_at_once(producer: Producer, analyzed: str) -> None:
    """Among others, and where most have ended: also by whoever asks whether there are some."""
    database = producer.database
    batches = [producer.submit_batch("complete", prompts(20_000), provider=PROVIDER) for _ in range(2)]
    batch_id = UUID(batches[0].batch_id)
    if analyzed == "before":
        database.query("ANALYZE jobs, batches")
    database.query("UPDATE jobs SET state = 'succeeded', finished_at = now() WHERE seq < 15000")
    if analyzed == "after":
        database.query("ANALYZE jobs, batches")
    given = {**NOTHING, "batch_ids": [batch_id], "batch_jobs": [100], "batch_id": batch_id, "limit": 100, "but": None}
    assert rows_of(producer, part("next", "picked"), given) < 2000
    assert rows_of(producer, statement("unsent_jobs"), given) < 2000
    assert rows_of(producer, statement("hungry_batch"), given) < 2000
    claims = database.query(statement("claim"), given)
    named = "SELECT min(seq) AS first, max(seq) AS last FROM jobs WHERE id = ANY (%(ids)s)"
    (seen,) = database.query(named, {"ids": [claim["id"] for claim in claims]})
    assert (len(claims), seen["first"], seen["last"]) == (100, 15000, 15099)


def test_statistics_of_an_idle_moment_do_not_make_settlements_slow(producer: Producer) -> None:
    """A vacuum that finds no job running must not have statements walk through all that will."""
    queue_up(producer, 2_000)
    work = WorkLedger(producer.database, "w")
    work.renew_lease(60)
    ids = [row["id"] for row in producer.database.query("SELECT id FROM jobs ORDER BY id")]
    work.record([Settlement(claim.job_id, claim.fence, "failed", 0) for claim in work.claim(ids)])
    producer.database.query("VACUUM ANALYZE jobs")
    queue_up(producer, 5_000)
    claims = work.claim([], {PROVIDER: 5_000})
    assert len(claims) == 5_000
    given = {"job_ids": [c.job_id for c in claims[:100]], "fences": [c.fence for c in claims[:100]]}
    mine = "SELECT j.id FROM unnest(%(job_ids)s::uuid[], %(fences)s::bigint[]) AS d (job_id, fence) JOIN jobs j"
    sql = f"{mine} ON j.id = d.job_id WHERE j.state = 'running' AND j.fence = d.fence"
    assert rows_of(producer, sql, given) < 1000


def test_50000_jobs_wait_while_others_come_and_go(
    stack: Stack, producer: Producer, llm: LLMServer, broker: redis.Redis, tmp_path: Path
) -> None:
    """Their messages are lost, and a sweeper sends some again; what comes new is named by a message of its own."""
    add_local(producer, llm, "custom-new")
    queue_up(producer, 50_000)
    new = [producer.enqueue("complete", {"prompt": "now"}, provider=provider) for provider in (PROVIDER, "custom-new")]
    ended = "SELECT count(*) FILTER (WHERE state = 'succeeded') AS n FROM jobs WHERE provider_id = %(id)s"
    fast = {"TICKETFLOW_SWEEP_INTERVAL_S": "0.5", "TICKETFLOW_CALLS_IN_FLIGHT": "100"}
    with WorkerProcess({**stack.worker_environment, **fast}, tmp_path / "worker.log") as worker:
        assert {job.wait(60).state for job in new} == {"succeeded"}
        batch = producer.submit_batch("complete", prompts(20), provider="custom-new")
        assert batch.wait(60).succeeded == 20
        wait_for(lambda: producer.database.query(ended, {"id": PROVIDER})[0]["n"] > 500, "progress", 60)
        left = "SELECT count(*) AS n FROM jobs WHERE state = 'queued'"
        assert producer.database.query(left)[0]["n"] > 10_000, "most of them wait on"
        worker.kill()
    paid_twice = "SELECT count(*) AS n FROM calls GROUP BY job_id HAVING count(*) > 1"
    assert producer.database.query(paid_twice) == []
