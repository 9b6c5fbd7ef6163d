"""Batches from help desks' exports, and results in every format, written while the batch runs."""

import csv
import gzip
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
import pytest
from psycopg import sql

from embedded.servers import EmbeddedServers
from jobs.kind import NewJob
from producer.commands.batch_files import come_back
from producer.producer import Producer
from tests.conftest import Stack
from tests.integration.test_command import Command
from tests.integration.test_guides import commands
from tests.support.llm_server import LLMServer
from tests.support.processes import INTERRUPTED
from tests.support.providers import STRUCTURED, add_local
from tests.support.waiting import wait_for
from tests.support.workers import ROOT, WorkerProcess, clean_environment

PROVIDER = "custom-local"
SUBMIT = ("batch", "submit")
TARGET = ("--kind", "summarise_ticket", "--provider", PROVIDER)
MAPS = ("--map", "id=Ticket ID", "--map", "body=Ticket Description")
EXPORT = "\ufeffTicket ID;Subject;Ticket Description;Requester email\r\n" + "".join(
    f'{n};"Login; {n}";"It fails.\r\nAlways ""{n}""";anna@example.com\r\n' for n in range(1, 13)
)


@pytest.fixture
def producer(stack: Stack, llm: LLMServer) -> Iterator[Producer]:
    llm.reset()
    with Producer(stack.settings) as producer:
        add_local(producer, llm, PROVIDER, **STRUCTURED)
        yield producer


@pytest.fixture
def ticketflow(stack: Stack, tmp_path: Path) -> Command:
    return Command(stack.operator_environment, tmp_path)


@contextmanager
def started(
    stack: Stack, folder: Path, *arguments: str, stdout: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[bytes]]:
    """A command under way."""
    process = subprocess.Popen(
        [sys.executable, "-m", "producer.commands", *arguments],
        env=clean_environment(stack.operator_environment) | {"PYTHONPATH": str(ROOT)},
        cwd=folder,
        stdout=stdout,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))


def prompts(path: Path, count: int) -> None:
    path.write_text("".join(f'{{"prompt": "p{n}", "id": {n}}}\n' for n in range(count)))


def test_a_dry_run_needs_no_service_and_ends_as_the_submission_would(tmp_path: Path) -> None:
    away = {"TICKETFLOW_REDIS_URL": "redis://127.0.0.1:1/0", "TICKETFLOW_DATABASE_URL": "postgresql://u@127.0.0.1:1/d"}
    ticketflow = Command(away, tmp_path)
    (tmp_path / "in.csv").write_text(EXPORT, newline="", encoding="utf-8")
    ask = (*SUBMIT, "in.csv", *TARGET, *MAPS, "--dry-run")
    done = ticketflow(*ask, "--json")
    assert (done.status, done.err) == (0, "")
    assert done.document == {
        "dry_run": True, "valid": 12, "invalid": 0, "custom_id": "1", "problems": [],
        "first": {"id": "1", "subject": "Login; 1", "body": 'It fails.\r\nAlways "1"'},
        "columns": {"id": "Ticket ID", "subject": "Subject", "body": "Ticket Description"},
        "left_out": ["Requester email"],
    }  # fmt: skip
    with (tmp_path / "in.csv").open("a", encoding="utf-8") as more:
        more.write("13;x\n")
    refused = ticketflow(*ask)
    assert (refused.status, json.loads(refused.out)["id"]) == (2, "1")
    for words in ("body <- Ticket Description", "left out: Requester email", "line 26: 2 cells", "12 valid, 1 invalid"):
        assert words in refused.err
    assert ticketflow(*ask, "--skip-invalid").status == 0
    assert ticketflow(*ask, "--format", "jsonl", "--json").document["valid"] == 0


def test_the_same_export_under_a_name_is_one_batch_however_it_comes(
    producer: Producer, ticketflow: Command, tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_text(EXPORT, newline="", encoding="utf-8")
    (tmp_path / "in.csv.gz").write_bytes(gzip.compress(EXPORT.encode()))
    options = (*TARGET, *MAPS, "--name", "night", "--json")
    first = ticketflow(*SUBMIT, "in.csv", *options).document
    assert first["total"] == 12
    again = ticketflow(*SUBMIT, "in.csv.gz", *options)
    piped = ticketflow(*SUBMIT, "-", "--format", "csv", *options, given=gzip.compress(EXPORT.encode()))
    assert first["batch_id"] == again.document["batch_id"] == piped.document["batch_id"]
    inputs = producer.database.query("SELECT input::text AS input FROM jobs ORDER BY seq")
    assert json.loads(inputs[0]["input"]) == {"id": "1", "subject": "Login; 1", "body": 'It fails.\r\nAlways "1"'}
    assert "example.com" not in str(inputs), "a column that nobody asked for is not stored"
    quote = ("batch", "quote", "in.csv", *TARGET, *MAPS, "--json")
    assert ticketflow(*quote).document[0]["jobs"] == 12


def test_a_bad_export_enqueues_nothing_unless_told_to_skip(
    producer: Producer, ticketflow: Command, tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_text(EXPORT + '13;x\n14;"no end;b;c\n', newline="", encoding="utf-8")
    refused = ticketflow(*SUBMIT, "in.csv", *TARGET, *MAPS)
    assert refused.status == 2
    assert "line 26: 2 cells where the header has 4" in refused.err
    assert "line 27: a quote that opens in this row is not closed" in refused.err
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(EXPORT.encode())[:-12])
    cut = ticketflow(*SUBMIT, "cut.csv.gz", *TARGET, *MAPS, "--skip-invalid")
    assert (cut.status, "the file was cut off" in cut.err) == (2, True)
    lost = ticketflow(*SUBMIT, "in.csv", *TARGET, *MAPS, "--results", "missing/out.csv")
    assert (lost.status, "cannot be written" in lost.err) == (1, True)
    assert producer.ledger.batches(10) == []
    skipped = ticketflow(*SUBMIT, "in.csv", *TARGET, *MAPS, "--skip-invalid", "--json").document
    assert (skipped["total"], [problem["line"] for problem in skipped["skipped"]]) == (12, [26, 27])


def test_results_in_every_format_and_failed_ones_alone(
    stack: Stack, producer: Producer, llm: LLMServer, ticketflow: Command, tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_text(EXPORT, newline="", encoding="utf-8")
    llm.scenario([{"type": "fail", "status": 400, "times": 3}])
    with WorkerProcess(stack.worker_environment, tmp_path / "worker.log"):
        done = ticketflow(*SUBMIT, "in.csv", *TARGET, *MAPS, "--results", "out.csv", "--in-order", "--json")
    assert (done.status, done.document["failed"], done.document["succeeded"]) == (1, 3, 9)
    assert [row["custom_id"] for row in rows(tmp_path / "out.csv")] == [str(n) for n in range(1, 13)]
    assert {row["sentiment"] for row in rows(tmp_path / "out.csv")} <= {"negative", "neutral", "positive", ""}
    assert not (tmp_path / "out.csv.part").exists()
    read = ("batch", "results", done.document["batch_id"])
    failed = ticketflow(*read, "--failed", "-o", "failed.csv", "--json")
    assert (failed.status, failed.document["written"]) == (0, 3)
    assert {row["error_type"] for row in rows(tmp_path / "failed.csv")} == {"ProviderRejectedError"}
    assert ticketflow(*read, "--output", "out.parquet").status == 0
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 12
    assert ticketflow(*read, "-o", "out.jsonl.gz", "--follow").status == 1, "as watch: it failed"
    lines = gzip.decompress((tmp_path / "out.jsonl.gz").read_bytes()).splitlines()
    assert [json.loads(line)["state"] for line in lines].count("failed") == 3
    piped = ticketflow(*read, "-o", "-", "--format", "tsv", "--failed", "--follow")
    assert len(piped.out.splitlines()) == 4
    assert ticketflow(*read, "-o", "out.xlsx").status == 2


def test_a_pipe_that_is_closed_is_said_in_words(stack: Stack, producer: Producer, tmp_path: Path) -> None:
    handle = producer.submit_batch("complete", (NewJob('{"prompt": "p"}', str(n)) for n in range(3)), provider=PROVIDER)
    for form in ("jsonl", "csv", "parquet"):
        reader, writer = os.pipe()
        os.close(reader)
        arguments = ("batch", "results", handle.batch_id, "--output", "-", "--format", form)
        with started(stack, tmp_path, *arguments, stdout=writer) as command:
            os.close(writer)
            _, words = command.communicate(timeout=30)
        assert words.decode().strip() == "error: standard output cannot be written: Broken pipe", form
        assert command.returncode == 1


def test_a_postgres_that_goes_away_leaves_what_was_written(
    servers: EmbeddedServers, stack: Stack, producer: Producer, tmp_path: Path
) -> None:
    handle = producer.submit_batch("complete", (NewJob('{"prompt": "p"}', str(n)) for n in range(2)), provider=PROVIDER)
    end = "UPDATE jobs SET state = 'failed', error_type = 'E', finished_at = now() WHERE seq = 1"
    producer.database.query(end)
    producer.database.query("UPDATE batches SET failed = 1")
    name = stack.settings.database_url.rsplit("/", 1)[1]
    alter = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    part = tmp_path / "out.csv.part"
    with (
        psycopg.connect(servers.database_url, autocommit=True, dbname="postgres") as admin,
        started(stack, tmp_path, "batch", "results", handle.batch_id, "--follow", "-o", "out.csv") as command,
    ):
        wait_for(lambda: part.exists() and len(rows(part)) == 1, "the job that has ended")
        admin.execute(alter.format(sql.Identifier(name), sql.SQL("false")))
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        _, words = command.communicate(timeout=30)
        admin.execute(alter.format(sql.Identifier(name), sql.SQL("true")))
    assert command.returncode == 3, words
    assert f"come back with: ticketflow batch results {handle.batch_id} --follow --output out.csv" in words.decode()
    assert "Traceback" not in words.decode()
    assert [row["custom_id"] for row in rows(part)] == ["1"]


def test_results_grow_while_the_batch_runs_and_ctrl_c_says_how_to_go_on(
    stack: Stack, producer: Producer, llm: LLMServer, ticketflow: Command, tmp_path: Path
) -> None:
    prompts(tmp_path / "in.jsonl", 200)
    llm.scenario([{"type": "delay", "seconds": 0.3, "times": None}])
    part, target = tmp_path / "out.jsonl.part", tmp_path / "out.jsonl"
    arguments = (*SUBMIT, "in.jsonl", "--kind", "complete", "--provider", PROVIDER, "--results", "out.jsonl")
    slow = stack.worker_environment | {"TICKETFLOW_SLICE_JOBS": "10", "TICKETFLOW_CALLS_IN_FLIGHT": "20"}
    with WorkerProcess(slow, tmp_path / "worker.log"):
        with started(stack, tmp_path, *arguments) as command:
            wait_for(lambda: part.exists() and part.read_bytes().count(b"\n") > 10, "results before the end")
            assert not target.exists()
            (batch,) = producer.ledger.batches(1)
            assert producer.ledger.pause(batch.batch_id)
            handle = producer.batch(batch.batch_id)
            wait_for(lambda: handle.status().running == 0, "an end of what ran")
            ended = handle.status().succeeded
            wait_for(lambda: part.read_bytes().count(b"\n") == ended, "all that has ended")
            command.send_signal(signal.SIGINT)
            _, words = command.communicate(timeout=20)
            assert command.returncode in INTERRUPTED, words
        assert f"ticketflow batch results {batch.batch_id} --follow --output out.jsonl" in words.decode()
        assert "Traceback" not in words.decode()
        assert (part.read_bytes().count(b"\n"), target.exists()) == (ended, False)
        assert ended < 200
        llm.reset()
        assert producer.resume_batch(batch.batch_id)
        done = ticketflow("batch", "results", batch.batch_id, "--follow", "--output", "out.jsonl", "--json")
    assert (done.status, done.document["written"]) == (0, 200)
    names = [json.loads(line)["custom_id"] for line in target.read_text().splitlines()]
    assert sorted(names, key=int) == [str(n) for n in range(200)]
    assert not part.exists()


def test_the_command_to_come_back_with_has_the_options_of_the_one_that_ended() -> None:
    assert come_back("B", None) == "ticketflow batch watch B"
    words = "ticketflow batch results B --follow --in-order --failed --format csv --output 'my results'"
    assert come_back("B", "my results", "csv", in_order=True, failed=True) == words


def test_a_full_disk_ends_the_command_and_not_the_batch(
    stack: Stack, producer: Producer, ticketflow: Command, tmp_path: Path
) -> None:
    prompts(tmp_path / "in.jsonl", 20)
    arguments = (*SUBMIT, "in.jsonl", "--kind", "complete", "--provider", PROVIDER, "--results", "/dev/full", "--json")
    with WorkerProcess(stack.worker_environment, tmp_path / "worker.log"):
        done = ticketflow(*arguments)
        assert (done.status, done.document["error"]["type"]) == (1, "OutputError")
        assert "No space left on device" in done.err
        (batch,) = producer.ledger.batches(1)
        assert f"come back with: ticketflow batch results {batch.batch_id} --follow" in done.err
        assert producer.batch(batch.batch_id).wait(30).succeeded == 20


def test_every_command_of_the_guide_runs(stack: Stack, producer: Producer, ticketflow: Command, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "howto" / "batch-files.md").read_text(encoding="utf-8")
    (tmp_path / "tickets.csv").write_text("Ticket ID,Subject,Description,Requester\n1,s,b,Anna\n2,s,b,Bert\n")
    found = commands(page, "ticketflow")
    assert len(found) == 6
    with WorkerProcess(stack.worker_environment, tmp_path / "worker.log"):
        for arguments in found:
            own = {"groq": PROVIDER, "BATCH_ID": next((b.batch_id for b in producer.ledger.batches(1)), "")}
            done = ticketflow(*(own.get(argument, argument) for argument in arguments))
            assert done.status == 0, f"{arguments}: {done.err}"
    for named in ("summaries.csv", "summaries.jsonl", "failed.csv", "summaries.parquet", "summaries.jsonl.gz"):
        assert (tmp_path / named).stat().st_size > 0
    assert len(rows(tmp_path / "summaries.csv")) == 2
    assert rows(tmp_path / "failed.csv") == []
