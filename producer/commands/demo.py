"""The demo: the main job as a user would do it, on servers that are started for it and stopped after it."""

import hashlib
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.errors import TicketflowError
from config.settings import PREFIX
from embedded.local_server import HOST, free_ports
from embedded.programs import Program, celery_programs, inherited_environment
from embedded.servers import EmbeddedServers
from embedded.stack import Stack
from embedded.tickets import sample_tickets, sample_tickets_path
from producer.commands.output import note, table
from producer.commands.stack import living_workers, migrate_ledger

PROVIDER_NAME, PROVIDER_ID, MODEL = "Local summariser", "custom-local-summariser", "local-extractive-1"
SHOWN = 8


@dataclass(frozen=True)
class Outcome:
    """What the demo did; ``seconds`` is from submission to the last result."""

    jobs: int
    failed: int
    seconds: float
    input_tokens: int
    output_tokens: int

    @property
    def succeeded(self) -> bool:
        """Whether there were jobs and every one has its result."""
        return self.jobs > 0 and self.failed == 0

    @property
    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        return {**vars(self), "jobs_per_s": round(self.jobs / self.seconds, 1)}

    def __str__(self) -> str:
        return (
            f"{self.jobs} jobs, {self.failed} failed, {self.seconds:.1f} s, {self.jobs / self.seconds:.0f} jobs/s, "
            f"{self.input_tokens:,} tokens in, {self.output_tokens:,} out"
        )


class CommandError(TicketflowError):
    """A command of the demo did not do what it should."""


def run_demo(show: bool) -> Outcome:
    """Runs the demo from nothing to nothing; whatever ends it, no process stays.

    Args:
        show: print the summaries for people.
    """
    key, port = f"sk-demo-{secrets.token_urlsafe(24)}", free_ports(1)[0]
    with tempfile.TemporaryDirectory(prefix="ticketflow-demo-", ignore_cleanup_errors=True) as folder:
        stack = Stack(Path(folder) / "stack", False, 1, None, note, _programs(key, port))
        try:
            stack.start(migrate_ledger, lambda: living_workers(stack) if _answers(port) else 0)
            return _main_job(stack.servers.operator_environment, key, port, Path(folder) / "results.jsonl", show)
        finally:
            stack.stop()
            note("everything that was started is stopped")


def _programs(key: str, port: int) -> Callable[[EmbeddedServers, int, int | None], Sequence[Program]]:
    """The stack's programs, and the provider: it knows the key by its hash alone."""

    def programs(servers: EmbeddedServers, workers: int, flower_port: int | None) -> Sequence[Program]:
        argv = (sys.executable, "-m", "embedded.local_provider", "--port", str(port))
        own = {"LOCAL_PROVIDER_KEY_SHA256": hashlib.sha256(key.encode()).hexdigest()}
        provider = Program("local provider", argv, inherited_environment((PREFIX,)) | own)
        return [provider, *celery_programs(servers, workers, flower_port)]

    return programs


def _answers(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _main_job(environment: Mapping[str, str], key: str, port: int, results: Path, show: bool) -> Outcome:
    run = _Commands(environment).run
    url = f"http://{HOST}:{port}/v1"
    run(
        "providers",
        "add",
        "--name",
        PROVIDER_NAME,
        "--base-url",
        url,
        "--model",
        MODEL,
        "--structured-output",
        "--no-check",
    )
    run("providers", "set-key", PROVIDER_ID, given=key)
    started = time.monotonic()
    batch = ("batch", "submit", str(sample_tickets_path()), "--kind", "summarise_ticket", "--provider", PROVIDER_ID)
    run(*batch, "--results", str(results), may_fail=True)
    seconds = time.monotonic() - started
    jobs = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    if show:
        _show(jobs)
    outcome = _outcome(jobs, seconds)
    if show:
        print(f"\n{outcome}", flush=True)
    return outcome


def _outcome(jobs: Sequence[dict[str, Any]], seconds: float) -> Outcome:
    return Outcome(
        len(jobs),
        sum(job["state"] != "succeeded" for job in jobs),
        round(seconds, 2),
        sum(job["usage"]["input_tokens"] for job in jobs),
        sum(job["usage"]["output_tokens"] for job in jobs),
    )


@dataclass(frozen=True)
class _Commands:
    """Runs ``ticketflow`` as a user would, each time in a process of its own, and shows what is run."""

    environment: Mapping[str, str]

    def run(self, *arguments: str, given: str | None = None, may_fail: bool = False) -> None:
        shown = " ".join(f'"{part}"' if " " in part else part for part in arguments)
        note(f"\n$ ticketflow {shown}" + (" < key" if given else ""))
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        done = subprocess.run(  # noqa: S603 - our own command
            (sys.executable, "-m", "producer.commands", *arguments),
            env={**inherited, **self.environment},
            input=given,
            stdin=None if given else subprocess.DEVNULL,
            stdout=sys.stderr,
            text=True,
            check=False,
            start_new_session=True,  # a Ctrl-C is for us: we end the command, wherever in its start it is
        )
        if done.returncode and not (may_fail and done.returncode == 1):
            raise CommandError(f"`ticketflow {arguments[0]} {arguments[1]}` ended with status {done.returncode}")


def _show(jobs: Sequence[dict[str, Any]]) -> None:
    """Some of the summaries: the first of each language, then more from all over the file."""
    languages = {ticket["id"]: ticket["language"] for ticket in sample_tickets()}
    done = [job for job in jobs if job["state"] == "succeeded"]
    first = {languages[job["custom_id"]]: job for job in reversed(done)}
    picked = [*first.values(), *done[1 :: max(1, len(done) // (SHOWN - len(first)))]][:SHOWN]
    rows = [
        (job["custom_id"], job["result"]["priority"], job["result"]["sentiment"], _line(job["result"]["summary"]))
        for job in sorted(picked, key=jobs.index)
    ]
    print()
    table(("TICKET", "PRIORITY", "SENTIMENT", "SUMMARY"), rows)
    for job in jobs:
        if job["error"]:
            print(f"failed: {job['custom_id']}: {job['error']['type']}: {job['error']['message']}")


def _line(text: str, longest: int = 160) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= longest else flat[: longest - 1] + "…"
