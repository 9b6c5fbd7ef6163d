"""A whole system whose keys and tickets are canaries, and the folders in which it leaves its traces."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from config.errors import JobFailedError, TicketflowError
from config.keys import open_keys
from config.presence import PresenceBoard
from config.providers import parse_provider
from embedded.servers import EmbeddedServers
from jobs.kind import NewJob
from jobs.kinds import KINDS
from producer.convergence import wait_for_generation
from producer.handles import JobHandle
from producer.producer import Producer
from tests.integration.test_command import Command, Done
from tests.integration.test_procfile import Honcho
from tests.support.canaries import Canary
from tests.support.llm_server import LLMServer
from tests.support.mirror_server import MirrorServer
from tests.support.workers import WorkerProcess

MODELS = {"openai-compatible": "gpt-4o", "groq": "llama-3.3-70b-versatile", "gemini": "gemini-2.5-flash"}
"""One by provider type."""

WORKER = {
    "TICKETFLOW_LEASE_S": "1.5",
    "TICKETFLOW_SWEEP_INTERVAL_S": "0.3",
    "TICKETFLOW_MAX_ATTEMPTS": "2",
    "TICKETFLOW_KEY_TTL_S": "0.5",
    "OPENAI_LOG": "debug",
    "GROQ_LOG": "debug",
}
"""Quick to mend, quick to fail, and as talkative as a careless operator could make it."""


@dataclass
class Day:
    """One run of the system.

    Args:
        folder: traces, in a subfolder for each place.
        servers: where it runs.
        llm: a provider that works.
        mirror: a provider that quotes what it is told.
        producer: an operator's.
        secrets: passwords and credentials of the services.
    """

    folder: Path
    servers: EmbeddedServers
    llm: LLMServer
    mirror: MirrorServer
    producer: Producer
    secrets: tuple[str, ...]
    keys: Canary = field(default_factory=Canary)
    texts: Canary = field(default_factory=Canary)
    ids: Canary = field(default_factory=Canary)
    used: dict[tuple[str, int], str] = field(default_factory=dict)
    """Every key that a provider must have seen, by provider and version."""

    def place(self, name: str) -> Path:
        """A folder for traces."""
        (self.folder / name).mkdir(exist_ok=True)
        return self.folder / name

    def file(self, place: str, name: str) -> Path:
        """A file for a trace."""
        return self.place(place) / name

    def named(self, name: str) -> str:
        """The id of a provider or a ticket: one that may be seen, and by which the search shows that it works."""
        return f"c-{self.ids.tag}-{name}"

    def urls(self) -> dict[str, str]:
        """Base URLs of the provider that works, by type."""
        llm = self.llm
        return {"openai-compatible": llm.openai_url, "groq": llm.groq_url, "gemini": llm.gemini_url}

    def add(self, name: str, provider_type: str, base_url: str, *, heard: bool = True) -> str:
        """A provider with a key, and its id; ``heard``: the key will reach a provider."""
        values = {"id": self.named(name), "name": name, "type": provider_type, "base_url": base_url}
        self.producer.providers.add(parse_provider({**values, "default_model": MODELS[provider_type]}))
        self.set_key(values["id"])
        if not heard:
            del self.used[values["id"], 1]
        return values["id"]

    def set_key(self, provider_id: str) -> None:
        """A new version of a provider's key; the workers have it when this returns."""
        key, producer = self.keys.key(), self.producer
        self.used[provider_id, open_keys(producer.settings).store(provider_id, key)] = key
        generation = producer.providers.key_was_set(provider_id)
        board = PresenceBoard(producer.redis, producer.settings.redis_url)
        assert wait_for_generation(board, producer.ledger, generation, 10).behind == ()

    def script(self, *behaviors: dict[str, object]) -> None:
        """What the provider that works does from now on; its answers quote the ticket."""
        summary = {"title": "Login", "summary": f"It is {self.texts.tag}", "sentiment": "neutral", "priority": "low"}
        answer = {"type": "reply", "text": json.dumps({**summary, "action_items": []}), "times": None}
        self.llm.reset()
        self.llm.scenario([answer, *behaviors])

    def ticket(self, name: str) -> dict[str, str]:
        """A ticket with a text that is nobody's business."""
        return {"id": self.named(name), "subject": "Login", "body": f"My secret is {self.texts.tag}, says {name}"}

    def tickets(self, count: int) -> list[NewJob]:
        """Inputs of a batch."""
        return [KINDS["summarise_ticket"].accept(self.ticket(f"t{number}")) for number in range(count)]

    def enqueue(self, provider_id: str) -> JobHandle:
        """One summary."""
        return self.producer.enqueue("summarise_ticket", self.ticket("t"), provider=provider_id)

    def worker(self, name: str, pool: str, gemini_sdk: str) -> WorkerProcess:
        """A worker process that tells all it ever tells."""
        own = {**WORKER, "TICKETFLOW_GEMINI_SDK": gemini_sdk, "TMPDIR": str(self.place("temporary"))}
        log = self.file("worker-logs", f"{name}.log")
        return WorkerProcess(self.servers.worker_environment | own, log, pool, level="DEBUG")

    def command(self, *arguments: str, given: str = "", place: str = "commands") -> Done:
        """Runs ``ticketflow``, and keeps what it printed."""
        environment = self.servers.operator_environment | {"TICKETFLOW_LOG_LEVEL": "DEBUG"}
        done = Command(environment, self.place("results"))(*arguments, given=given)
        with self.file(place, "-".join(arguments[:2])).open("a") as out:
            out.write(f"{arguments}\n{done.out}\n{done.err}\n")
        return done

    def note_error(self, error: TicketflowError) -> None:
        """Keeps all that an error says of itself."""
        with self.file("errors", "texts").open("a") as out:
            out.write(f"{error}\n{error!r}\n{error.args}\n{vars(error)}\n{error.__cause__!r}\n{error.__context__!r}\n")

    def note_failure(self, job: JobHandle) -> None:
        """Keeps the error that a job ends with."""
        with pytest.raises(JobFailedError) as failed:
            job.result(60)
        self.note_error(failed.value)

    def save_rows(self) -> None:
        """Every table, whole and without what tickets and answers say."""
        with psycopg.connect(self.servers.database_url) as connection:
            for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall():
                table = sql.Identifier(name)
                _save(connection, sql.SQL("TABLE {}").format(table), self.file("postgres-rows", name))
                rest = sql.SQL("SELECT to_jsonb(r) - 'input' - 'result' FROM {} r").format(table)
                _save(connection, rest, self.file("postgres-rest", name))

    def save_pages(self, flower: Honcho, name: str) -> None:
        """Flower's pages and answers, the details of every worker and of some tasks among them."""
        tasks = list(json.loads(flower.page("/api/tasks?limit=10000").text))
        workers = list(json.loads(flower.page("/api/workers?refresh=1").text))
        assert tasks, "Flower has seen work"
        assert workers
        for number, path in enumerate(_pages(workers, tasks[:: len(tasks) // 20 + 1])):
            page = flower.page(path)
            assert page.status == 200, (path, page)
            self.file("flower", f"{name}-{number}.html").write_text(page.text)
        table = flower.page("/tasks/datatable", data=_EVERYTHING)
        self.file("flower", f"{name}-table.json").write_text(table.text)


_EVERYTHING = (
    b"draw=1&start=0&length=1000&order[0][column]=0&columns[0][data]=received&order[0][dir]=desc&search[value]="
)


def _pages(workers: Iterable[str], tasks: Iterable[str]) -> list[str]:
    pages = ["/", "/workers?json=1", "/tasks", "/broker", "/metrics", "/api/workers", "/api/tasks?limit=10000"]
    pages += ["/api/task/types", "/api/queues/length", *(f"/worker/{name}" for name in workers)]
    return pages + [f"{path}/{task}" for task in tasks for path in ("/task", "/api/task/info")]


def _save(connection: psycopg.Connection, query: sql.Composed, file: Path) -> None:
    with file.open("wb") as out, connection.cursor().copy(sql.SQL("COPY ({}) TO STDOUT").format(query)) as rows:
        for part in rows:
            out.write(part)
