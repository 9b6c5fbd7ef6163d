"""Keys live in Vault and in the client that uses them: after a night of troubles no byte of one is found elsewhere."""

import base64
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import redis

from config.providers import parse_provider
from config.redis_link import connect_redis
from embedded.local_server import free_ports
from embedded.servers import EmbeddedServers
from jobs.kinds import KINDS
from producer.producer import Producer
from tests.conftest import Stack
from tests.integration.test_command import Command
from tests.support.llm_server import LLMServer
from tests.support.processes import needs_proc
from tests.support.waiting import wait_for
from tests.support.workers import ROOT, WorkerProcess, clean_environment

TROUBLES = ("401", "400", "429", "500", "html", "cut", "bad-json")
URLS = {
    "custom-canary-openai": ("openai-compatible", "gpt-4o", "openai_url"),
    "custom-canary-groq": ("groq", "llama-3.3-70b-versatile", "groq_url"),
    "custom-canary-gemini": ("gemini", "gemini-2.5-flash", "gemini_url"),
}


@dataclass
class Canaries:
    """Words that must not be found, and what the provider saw of them."""

    keys: list[str] = field(default_factory=list)
    ticket: str = field(default_factory=lambda: f"ticket-canary-{os.urandom(12).hex()}")

    def key(self) -> str:
        """A new key, unmistakable."""
        self.keys.append(f"sk-canary-{os.urandom(16).hex()}")
        return self.keys[-1]

    def hits(self, data: bytes, *, texts: bool = False) -> list[str]:
        """Which are in the data, plainly or in a simple disguise; tickets only if asked for."""
        words = [*self.keys, *([self.ticket] if texts else [])]
        return [word for word in words if any(form in data for form in disguises(word))]


def disguises(word: str) -> list[bytes]:
    """As it is, as hex, and as base64 at each of its three offsets."""
    raw = word.encode()
    shifted = [base64.b64encode(b"\0" * n + raw)[4 if n else 0 : -4] for n in range(3)]
    return [raw, raw.hex().encode(), *shifted]


def test_the_search_finds_what_is_there() -> None:
    canaries = Canaries()
    key = canaries.key()
    for data in (
        f"x{key}y".encode(),
        key.encode().hex().encode(),
        *(base64.b64encode(b"a" * n + key.encode()) for n in range(3)),
    ):
        assert canaries.hits(data) == [key]
    assert canaries.hits(canaries.ticket.encode()) == []
    assert canaries.hits(canaries.ticket.encode(), texts=True) == [canaries.ticket]


class Troublemaker(BaseHTTPRequestHandler):
    """Fails in the way that the path names, and quotes what it was sent as often as it can."""

    seen: bytes = b""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        trouble = self.path.split("/")[1]
        echo = f"{self.headers}{body.decode()}".encode()
        type(self).seen += echo
        if trouble == "cut":
            self.connection.close()
            return
        status = int(trouble) if trouble.isdigit() else 200
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if trouble == "html" else "application/json")
        self.send_header("X-Echo", str(self.headers["Authorization"]))
        self.send_header("Content-Length", str(len(echo)))
        self.end_headers()
        self.wfile.write(echo)

    def log_message(self, *_: object) -> None:
        """Silent."""


@contextmanager
def troublemaker() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Troublemaker)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def wiretap(url: str) -> Iterator[list[bytes]]:
    """Every command that Redis gets meanwhile, of everybody."""
    heard: list[bytes] = []
    client = connect_redis(url)
    monitor = client.monitor()  # type: ignore[no-untyped-call]
    monitor.__enter__()

    def listen() -> None:
        with suppress(redis.RedisError, OSError, ValueError, AttributeError):
            heard.extend(str(command).encode() for command in monitor.listen())

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        monitor.connection.disconnect()
        thread.join(10)
        client.close()


@contextmanager
def flower(stack: Stack, log: Path) -> Iterator[str]:
    """Flower with its API, as nobody should open it."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    environment = {"TICKETFLOW_REDIS_URL": stack.settings.redis_url, "FLOWER_UNAUTHENTICATED_API": "true"}
    command = [sys.executable, "-m", "celery", "-A", "worker.app", "flower", "--address=127.0.0.1", f"--port={port}"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--logging=debug"],
            env=clean_environment({}) | environment,
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_for(lambda: page(f"{url}/healthcheck"), f"Flower: {log.read_text()}", 30)
            yield url
        finally:
            process.terminate()
            process.wait(20)


def page(url: str) -> bytes:
    """What is there, whatever the status; nothing while nobody answers."""
    try:
        with urlopen(url, timeout=10) as answer:
            return bytes(answer.read())
    except HTTPError as error:
        return error.read()
    except OSError:
        return b""


def all_pages(url: str) -> bytes:
    """Flower's pages and API, tasks one by one included."""
    import json

    tasks = json.loads(page(f"{url}/api/tasks"))
    workers = json.loads(page(f"{url}/api/workers?refresh=1"))
    paths = ["", "workers", "tasks", "broker", "metrics", "api/tasks", "api/workers?refresh=1", "api/task/types"]
    paths += [f"task/{task}" for task in tasks] + [f"api/task/info/{task}" for task in tasks]
    paths += [f"worker/{worker}" for worker in workers]
    return b"\n".join(page(f"{url}/{path}") for path in paths)


def processes() -> bytes:
    """Arguments of all processes, and the environment of those of ours that came after us."""
    found = b""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                found += (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
    return found


def files_in(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in folder.rglob("*"):
        with suppress(OSError):
            if path.is_file() and not path.is_symlink():
                yield path, path.read_bytes()


def provider(provider_id: str, kind: str, model: str, url: str) -> dict[str, object]:
    where = {"type": kind, "default_model": model, "base_url": url}
    return {"id": provider_id, "name": provider_id[-20:], "capabilities": {"structured_output": True}, **where}


@needs_proc
@pytest.mark.timeout(240)
def test_no_key_is_anywhere_that_it_should_not_be(servers: EmbeddedServers, stack: Stack, tmp_path: Path) -> None:
    canaries, said = Canaries(), bytearray()
    ticketflow = Command(stack.operator_environment, tmp_path)

    def run(*arguments: str, given: str = "") -> None:
        done = ticketflow(*arguments, given=given)
        said.extend(f"{done.out}{done.err}".encode())

    environment = stack.worker_environment | {
        "TICKETFLOW_LOG_LEVEL": "DEBUG",
        "TICKETFLOW_MAX_ATTEMPTS": "2",
        "TICKETFLOW_LEASE_S": "2",
        "TICKETFLOW_SLICE_JOBS": "20",
    }
    legacy = environment | {"TICKETFLOW_GEMINI_SDK": "google-generativeai"}
    with (
        LLMServer() as llm,
        troublemaker() as trouble,
        Producer(stack.settings) as producer,
        wiretap(stack.settings.redis_url) as heard,
        flower(stack, tmp_path / "flower.log") as flower_url,
    ):
        for provider_id, (kind, model, attribute) in URLS.items():
            producer.providers.add(parse_provider(provider(provider_id, kind, model, getattr(llm, attribute))))
        for name in TROUBLES:
            url = f"{trouble}/{name}/v1"
            producer.providers.add(parse_provider(provider(f"custom-trouble-{name}", "openai-compatible", "m", url)))
        for provider_id in (*URLS, *(f"custom-trouble-{name}" for name in TROUBLES)):
            run("providers", "set-key", provider_id, given=canaries.key())
        tickets = [
            KINDS["summarise_ticket"].accept({"id": f"canary-{n}", "subject": "Login", "body": canaries.ticket})
            for n in range(60)
        ]
        with (
            WorkerProcess(environment, tmp_path / "first.log", level="DEBUG") as first,
            WorkerProcess(legacy, tmp_path / "prefork.log", "processes", level="DEBUG"),
        ):
            llm.scenario([{"type": "delay", "seconds": 0.05, "times": None}])
            batches = [producer.submit_batch("summarise_ticket", tickets, provider=name) for name in URLS]
            wait_for(lambda: batches[0].status().succeeded > 3, "progress")
            run("providers", "set-key", "custom-canary-openai", given=canaries.key())  # a rotation under load
            first.kill()
            with WorkerProcess(environment, tmp_path / "second.log", level="DEBUG"):
                singles = [
                    producer.enqueue("complete", {"prompt": canaries.ticket}, provider=f"custom-trouble-{name}")
                    for name in TROUBLES
                ]
                assert {single.wait(60).state for single in singles} == {"failed"}
                done = [batch.wait(90) for batch in batches]
                assert [batch.succeeded for batch in done] == [60] * 3
                run("providers", "check", "custom-canary-groq")
                run("providers", "check", "custom-trouble-401")
                run("providers", "models", "custom-canary-openai", "--json")
                run("providers", "list", "--json")
                run("providers", "export")
                run("doctor")
                run("workers")
                run("jobs", "list", "--json")
                for single in singles:
                    run("jobs", "show", single.job_id)
                run("batch", "results", batches[0].batch_id, "--output", "results.jsonl")
                run("enqueue", "complete", "--provider", "custom-trouble-500", "--wait", "20", given='{"prompt": "x"}')
                wait_for(lambda: b"custom-canary-openai" in all_pages(flower_url), "tasks in Flower")
                running, shown = processes(), all_pages(flower_url)
        kept = b"".join(
            client.dump(key) or b""
            for client in (redis.Redis.from_url(stack.settings.redis_url),)
            for key in client.scan_iter()
        )
        versions = {job.key_version for batch in batches for job in batch.jobs()}
    assert len(canaries.keys) == 1 + len(URLS) + len(TROUBLES)
    assert versions <= {1, 2}, "no call went without a key"
    assert all(key.encode() in Troublemaker.seen for key in canaries.keys[len(URLS) : -1]), "the keys were used"
    # What the search would find if it were there: it finds its neighbours.
    commands = b"\n".join(heard)
    assert b"custom-canary-openai" in commands
    assert b"custom-canary-openai" in shown
    assert b"celery" in running
    assert b"custom-trouble-401" in bytes(said)
    for name, data in {"Redis": kept + commands, "Flower": shown, "processes": running}.items():
        assert canaries.hits(data, texts=True) == [], name
    assert canaries.hits(bytes(said)) == [], "the commands' output"
    found, in_postgres = list[tuple[str, list[str]]](), False
    started = time.monotonic()
    for path, data in (*files_in(servers.folder), *files_in(tmp_path)):
        found += [(str(path), hits)] if (hits := canaries.hits(data, texts=path.suffix == ".log")) else []
        in_postgres |= "postgres" in str(path) and canaries.ticket.encode() in data
    assert found == []
    assert in_postgres, "the ledger's files were among those that were read"
    assert time.monotonic() - started < 120
