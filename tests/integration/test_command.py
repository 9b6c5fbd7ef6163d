"""The ``ticketflow`` command as scripts use it: one JSON document, an exit status, errors in words."""

import json
import os
import pty
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from config.redis_link import connect_redis
from tests.conftest import Stack
from tests.support.llm_server import LLMServer
from tests.support.waiting import wait_for
from tests.support.workers import ROOT, WorkerProcess, clean_environment

JOB_FIELDS = {
    "job_id", "custom_id", "batch_id", "kind", "provider_id", "model", "state", "result", "error", "usage",
    "provider_generation", "key_version", "attempts", "created_at", "finished_at", "duration_ms",
    "reused_from", "revision", "stale", "superseded_by",
    "fallbacks", "answered_by", "fallback_reason", "next_attempt_at",
}  # fmt: skip
BATCH_FIELDS = {
    "batch_id", "kind", "provider_id", "state", "total", "queued", "running", "succeeded", "failed", "cancelled",
    "created_at", "finished_at",
}  # fmt: skip
WORKER_FIELDS = {
    "host", "pid", "queues", "generation", "clients", "in_flight", "jobs", "last_seen_s",
    "clients_made", "clients_reused", "clients_invalidated",
    "put_back", "given_up", "sent_again", "batches_started", "purged",
}  # fmt: skip
SECRET = "sk-secret-on-stdin-42"


@dataclass
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Its one JSON document."""
        return json.loads(self.out)


@dataclass
class Command:
    """Runs ``ticketflow`` in a process of its own."""

    environment: dict[str, str]
    folder: Path

    def __call__(self, *arguments: str, given: str | bytes = b"", **more: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "producer.commands", *arguments],
            env=clean_environment({**self.environment, **more}) | {"PYTHONPATH": str(ROOT)},
            cwd=self.folder,
            input=given.encode() if isinstance(given, str) else given,
            capture_output=True,
            timeout=60,
            check=False,
        )
        result = Done(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert "Traceback" not in result.err, result.err
        return result


@pytest.fixture
def ticketflow(stack: Stack, tmp_path: Path) -> Command:
    return Command(stack.operator_environment, tmp_path)


def add(ticketflow: Command, llm: LLMServer, name: str = "Local") -> str:
    where = ("--base-url", llm.openai_url, "--model", "gpt-4o", "--structured-output")
    return str(ticketflow("providers", "add", "--name", name, *where, "--json").document["id"])


def lines(*tickets: dict[str, Any]) -> str:
    return "".join(json.dumps(ticket) + "\n" for ticket in tickets)


def ticket(number: int) -> dict[str, Any]:
    return {"id": f"T{number}", "subject": "Login", "body": f"It fails, {number}"}


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = "import sys, producer.commands; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not {"psycopg", "redis", "celery", "pydantic", "rich", "hvac", "openai"} & set(loaded.stdout.split())
    shown = subprocess.run(
        [sys.executable, "-m", "producer.commands", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert all(verb in shown.stdout for verb in ("up", "demo", "enqueue", "jobs", "batch", "providers", "doctor"))


def test_the_whole_way_of_a_batch(stack: Stack, ticketflow: Command, llm: LLMServer, tmp_path: Path) -> None:
    llm.reset()
    provider = add(ticketflow, llm)
    assert ticketflow("providers", "set-key", provider, "--json", given=SECRET).document["key_version"] >= 1
    (tmp_path / "tickets.jsonl").write_text(lines(*(ticket(n) for n in range(12))))
    submit = ("batch", "submit", "tickets.jsonl", "--kind", "summarise_ticket", "--provider", provider)
    with WorkerProcess(stack.worker_environment, tmp_path / "worker.log"):
        done = ticketflow(*submit, "--wait", "--results", "results.jsonl", "--json")
        (worker,) = ticketflow("workers", "--json").document
        assert set(worker) == WORKER_FIELDS
        assert worker["queues"] == ["interactive", "bulk"]
        doctor = ticketflow("doctor", "--json")
        assert doctor.status == 0, doctor.out
    assert done.status == 0, done.err
    assert done.document.keys() >= BATCH_FIELDS
    assert (done.document["state"], done.document["succeeded"]) == ("succeeded", 12)
    assert "12/12 done, 0 failed" in done.err
    batch_id = done.document["batch_id"]
    assert ticketflow("batch", "status", batch_id, "--json").document["total"] == 12
    assert ticketflow("batch", "results", batch_id, "--output", "again.jsonl").status == 0
    text = (tmp_path / "again.jsonl").read_text()
    assert sorted(text.splitlines()) == sorted((tmp_path / "results.jsonl").read_text().splitlines())
    jobs = [json.loads(line) for line in text.splitlines()]
    assert [job["custom_id"] for job in jobs] == [f"T{n}" for n in range(12)]
    assert all(set(job) == JOB_FIELDS for job in jobs)
    shown = ticketflow("jobs", "show", jobs[0]["job_id"], "--json").document
    assert {key: shown[key] for key in JOB_FIELDS} == jobs[0]
    assert [call["outcome"] for call in shown["calls"]] == ["succeeded"]
    piped = ticketflow("batch", "results", batch_id, "--output", "-")
    assert len(piped.out.splitlines()) == 12


def test_a_single_job_and_its_exit_status(stack: Stack, ticketflow: Command, llm: LLMServer, tmp_path: Path) -> None:
    llm.reset()
    provider = add(ticketflow, llm)
    enqueue = ("enqueue", "complete", "--provider", provider)
    queued = ticketflow(*enqueue, "--json", given='{"prompt": "x"}')
    assert (queued.status, queued.document["state"]) == (0, "queued")
    assert set(queued.document) == JOB_FIELDS
    late = ticketflow(*enqueue, "--wait", "0.2", "--json", given='{"prompt": "x"}')
    assert (late.status, late.document["error"]["type"]) == (1, "WaitTimeoutError")
    with WorkerProcess(stack.worker_environment, tmp_path / "worker.log"):
        done = ticketflow(*enqueue, "--wait", "20", "--json", given='{"prompt": "x"}')
        assert (done.status, done.document["state"]) == (0, "succeeded")
        llm.scenario([{"type": "fail", "status": 400, "times": 1}])
        (tmp_path / "input.json").write_text('{"prompt": "x"}')
        failed = ticketflow(*enqueue, "--wait", "20", "--input", "input.json", "--json")
    assert (failed.status, failed.document["error"]["type"]) == (1, "ProviderRejectedError")


@pytest.mark.parametrize(
    ("arguments", "given", "words"),
    [
        (("enqueue", "translate", "--provider", "groq"), "{}", "known: complete, summarise_ticket"),
        (("enqueue", "complete", "--provider", "grok"), '{"prompt": "x"}', "known: gemini, groq, openai"),
        (("enqueue", "complete", "--provider", "groq"), "SECRET", "is not JSON"),
        (("enqueue", "complete", "--provider", "groq"), b"\xff", "not UTF-8"),
        (("enqueue", "complete", "--provider", "groq"), '{"prompt": 5}', "prompt"),
        (("enqueue", "complete", "--provider", "groq", "--model", "x" * 300), '{"prompt": "x"}', "model"),
        (("enqueue", "complete", "--provider", "groq", "--input", "none.json"), "", "cannot be read"),
        (("enqueue", "complete"), "", "--provider"),
        (("jobs", "show", "no-id"), "", "no job named 'no-id'"),
        (("batch", "status", "no-id"), "", "no batch named 'no-id'"),
        (("batch", "submit", "none.jsonl", "--kind", "complete", "--provider", "groq"), "", "cannot be read"),
        (("providers", "show", "grok"), "", "known: gemini, groq, openai"),
        (("providers", "remove", "groq"), "", "cannot be removed"),
        (("providers", "set-key", "groq"), "", "the key is empty"),
        (("providers", "set-key", "groq"), "two words", "holds spaces"),
        (("providers", "add", "--name", "X", "--base-url", "http://10.0.0.1", "--model", "m"), "", "private"),
        (("providers", "add", "--name", "X", "--base-url", "https://x.com", "--model", "m", "--type", "y"), "", "type"),
        (("frobnicate",), "", "No such command"),
    ],
)
def test_a_wrong_call_is_said_in_words(
    ticketflow: Command, arguments: tuple[str, ...], given: str | bytes, words: str
) -> None:
    done = ticketflow(*arguments, given=given)
    assert done.status == 2
    assert words in done.err
    assert "SECRET" not in done.err
    assert done.out == ""


def test_a_bad_file_enqueues_nothing_unless_told_to_skip(stack: Stack, ticketflow: Command) -> None:
    text = lines(ticket(1)) + "no json\n" + lines(ticket(1), {"id": "T3", "subject": "s"}, ticket(4))
    submit = ("batch", "submit", "-", "--kind", "summarise_ticket", "--provider", "groq")
    refused = ticketflow(*submit, "--json", given=text)
    assert refused.status == 2
    assert refused.document["error"]["type"] == "InvalidInputError"
    for words in ("line 2: ", "line 3: repeats the custom_id or id of line 1", "line 4: body: Field required"):
        assert words in refused.err
    client = connect_redis(stack.settings.redis_url)
    assert client.llen("bulk") == 0
    client.close()
    skipped = ticketflow(*submit, "--skip-invalid", "--json", given=text)
    assert (skipped.status, skipped.document["total"]) == (0, 2)
    assert [problem["line"] for problem in skipped.document["skipped"]] == [2, 3, 4]
    assert "left out 3 lines" in skipped.err


@pytest.mark.parametrize(
    ("variable", "url", "words"),
    [
        ("TICKETFLOW_REDIS_URL", "redis://:pw-secret@127.0.0.1:1/0", "Redis at 127.0.0.1:1/0"),
        ("TICKETFLOW_DATABASE_URL", "postgresql://u:pw-secret@127.0.0.1:1/db", "Postgres at 127.0.0.1:1/db"),
    ],
)
def test_a_service_that_is_away_is_named_within_five_seconds(
    ticketflow: Command, variable: str, url: str, words: str
) -> None:
    started = time.monotonic()
    done = ticketflow("enqueue", "complete", "--provider", "groq", given='{"prompt": "x"}', **{variable: url})
    assert done.status == 3
    assert words in done.err
    assert "pw-secret" not in done.err
    assert time.monotonic() - started < 7  # five of its own, and the start of a process on a busy machine
    doctor = ticketflow("doctor", "--json", **{variable: url})
    assert doctor.status == 1
    assert "pw-secret" not in doctor.out
    assert any(words in check["detail"] for check in doctor.document if not check["ok"])


def test_vault_away_is_named(ticketflow: Command) -> None:
    done = ticketflow("providers", "set-key", "groq", given="sk-1", TICKETFLOW_VAULT_URL="http://127.0.0.1:1")
    assert done.status == 3
    assert "Vault at 127.0.0.1:1" in done.err


def test_wrong_settings_are_listed(ticketflow: Command) -> None:
    done = ticketflow("workers", TICKETFLOW_LEASE_S="soon", TICKETFLOW_LOG_LEVEL="loud")
    assert done.status == 2
    assert "TICKETFLOW_LEASE_S" in done.err
    assert "TICKETFLOW_LOG_LEVEL" in done.err


def test_nobody_at_work_is_said(ticketflow: Command) -> None:
    assert ticketflow("workers", "--json").document == []
    assert "no worker is running" in ticketflow("workers").out
    checks = {check["check"]: check["ok"] for check in ticketflow("doctor", "--json").document}
    assert checks == {
        "settings": True, "redis": True, "postgres": True, "migrations": True, "vault": True, "worker": False,
        "provider gemini": True, "provider groq": True, "provider openai": True,
        "circuits": True,
    }  # fmt: skip


def test_a_key_typed_at_the_prompt_is_not_shown(ticketflow: Command, llm: LLMServer) -> None:
    provider = add(ticketflow, llm)
    terminal, slave = pty.openpty()
    login = "import os, sys; os.login_tty(0); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    process = subprocess.Popen(
        [sys.executable, "-c", login, "-m", "producer.commands", "providers", "set-key", provider],
        env=clean_environment(ticketflow.environment) | {"PYTHONPATH": str(ROOT)},
        stdin=slave,
        cwd=ticketflow.folder,
    )
    os.close(slave)
    shown = b""

    def shows(words: bytes) -> bool:
        nonlocal shown
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 1024)
        return words in shown

    try:
        wait_for(lambda: shows(b"Key of"), "prompt")
        os.write(terminal, SECRET.encode() + b"\n")
        wait_for(lambda: shows(b"version"), "answer")
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    assert SECRET.encode() not in shown


def test_providers_are_listed_for_people_and_programs(ticketflow: Command, llm: LLMServer) -> None:
    provider = add(ticketflow, llm, "My Ollama")
    assert provider == "custom-my-ollama"
    document = ticketflow("providers", "list", "--json").document
    assert [p["id"] for p in document["providers"]] == ["custom-my-ollama", "gemini", "groq", "openai"]
    assert llm.openai_url in ticketflow("providers", "list").out
    assert ticketflow("providers", "show", provider, "--json").document["is_custom"] is True
    removed = ticketflow("providers", "remove", provider, "--json").document
    assert removed["generation"] == document["generation"] + 1
