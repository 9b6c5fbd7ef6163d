"""Where processes are broken: servers that can be killed and frozen, workers, a provider with a journal, a ledger."""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any

import psycopg
import redis
from psycopg.rows import dict_row

from config.keys import open_keys
from config.providers import parse_provider
from config.redis_link import connect_redis
from config.settings import PREFIX, Settings
from embedded.children import ChildProcesses
from embedded.local_server import HOST, LocalServer, free_ports
from embedded.process import ChildProcess, Command
from embedded.programs import ROOT, inherited_environment
from embedded.servers import EmbeddedServers
from embedded.vault_rights import VaultApi
from jobs.kind import NewJob
from jobs.kinds import KINDS
from producer.handles import BatchHandle
from producer.producer import Producer
from tests.chaos.ledger_check import CallRow, JobRow, Report, Request, check
from tests.chaos.provider import PAID
from tests.chaos.stream import SingleJobs
from tests.support.waiting import wait_for

PROVIDER, KEY = "custom-chaos", "sk-chaos-1"
JOBS = 2000
CALLS_IN_FLIGHT = 25
END_S = 120.0
BOUND_S = 20.0
"""Within this the work has to go on: with the default lease (12 s) and a round of the sweeper (2 s)."""

WITNESS = """
CREATE TABLE moves (job_id uuid, state text, fence bigint, worker_id text, at timestamptz DEFAULT clock_timestamp());
CREATE INDEX moves_of_job ON moves (job_id);
CREATE FUNCTION note_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO moves (job_id, state, fence, worker_id) VALUES (NEW.id, NEW.state, NEW.fence, NEW.worker_id);
    RETURN NEW;
END $$;
CREATE TRIGGER note_move AFTER UPDATE OF state ON jobs FOR EACH ROW EXECUTE FUNCTION note_move();
CREATE VIEW ends AS SELECT * FROM moves WHERE state IN ('succeeded', 'failed', 'cancelled');
"""
"""Notes each claim, release and end of each job, so that a second end cannot hide behind the first."""


@dataclass
class Arena:
    """One scenario's own database, provider and Redis on servers that it may break.

    Args:
        servers: Valkey, Postgres and OpenBao.
        worker_environment: settings of workers.
        operator_environment: settings of producers.
        folder: for logs, the journal and the plan.
        chance: drawn from wherever the scenario leaves something open.
    """

    servers: EmbeddedServers
    worker_environment: dict[str, str]
    operator_environment: dict[str, str]
    folder: Path
    chance: Random
    accepted: set[str] = field(default_factory=set)
    uncertain: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._children = ChildProcesses()
        self._journal, self._plan = self.folder / "journal", self.folder / "plan.json"
        (self.port,) = free_ports(1)
        self.provider: ChildProcess
        values = {k.removeprefix(PREFIX).lower(): v for k, v in self.operator_environment.items()}
        self.settings = Settings.model_validate(values)

    def open(self) -> None:
        """Starts the provider, makes it known and sets the witness on the ledger."""
        self.plan()
        self.start_provider()
        with self.database() as connection:
            connection.execute(WITNESS)
        self.add_provider(PROVIDER)
        self.store_key(KEY)

    def close(self) -> None:
        """Ends the provider."""
        self._children.close()

    # The provider

    def plan(
        self, delay_s: float = 0.2, key: str | None = None, faults: Mapping[str, float] = MappingProxyType({})
    ) -> None:
        """What requests meet from now on: after how long, with which key, and shares of faults by their names."""
        draft = self._plan.with_suffix(".new")
        draft.write_text(json.dumps({"delay_s": delay_s, "key": key, "faults": dict(faults)}))
        draft.replace(self._plan)

    def start_provider(self) -> None:
        """Starts it, also again at the same address; what it received before is kept."""
        argv = (sys.executable, "-m", "tests.chaos.provider", str(self.port), str(self._journal), str(self._plan))
        seed = str(self.chance.random())
        log = self.folder / "provider.log"
        self.provider = self._children.spawn(Command((*argv, seed), inherited_environment(()), ROOT, log))
        wait_for(lambda: _listens(self.port), "provider", 30)

    def stop_provider(self) -> None:
        """Kills it: connections are cut and refused."""
        self.provider.kill()

    def faults(self) -> list[tuple[str, str]]:
        """The jobs that it heard of and what each request met; one that it was killed over may have been answered."""
        received, ends = dict[str, str](), dict[str, str]()
        for line in self._journal.read_text().splitlines() if self._journal.exists() else ():
            kind, name, what = line.split(" ")
            (received if kind == "R" else ends)[name] = what
        return [(identity, ends.get(name, "ok")) for name, identity in received.items()]

    def requests(self) -> list[Request]:
        """All that it received."""
        return [Request(identity, fault in PAID) for identity, fault in self.faults()]

    def add_provider(self, provider_id: str, **more: Any) -> None:
        """Makes the provider known under an id; ``more`` are fields of its definition."""
        url = {"base_url": f"http://{HOST}:{self.port}/v1", "default_model": "chaos-1"}
        values = {"timeout_s": 10, "capabilities": {"structured_output": True}, **more}
        definition = {"id": provider_id, "name": "Chaos", "type": "openai-compatible", **url, **values}
        with Producer(self.settings) as producer:
            producer.providers.add(parse_provider(definition))

    def change_provider(self, **fields: Any) -> None:
        """Changes its definition."""
        with Producer(self.settings) as producer:
            producer.providers.change(PROVIDER, fields)

    def store_key(self, key: str, provider_id: str = PROVIDER) -> None:
        """Puts a key into Vault without telling anybody."""
        open_keys(self.settings).store(provider_id, key)

    # The servers

    def server(self, name: str) -> LocalServer:
        """Valkey, Postgres or OpenBao."""
        return next(member for member in self.servers.members if member.name == name)

    def process(self, name: str) -> ChildProcess:
        """A server's process."""
        process = self.server(name).process
        assert process is not None
        return process

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Ends a server."""
        process = self.process(name)
        process.send(number)
        wait_for(lambda: process.status() is not None, f"end of {name}", 30)

    def start(self, name: str) -> None:
        """Starts a server that has ended, at the same address; Postgres may refuse while old backends still end."""
        server = self.server(name)

        def serves() -> bool:
            if server.process is None or server.process.status() is not None:
                server.respawn()
                return False
            return _listens(server.ports[0])

        wait_for(serves, f"new start of {name}", 30)

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """A server that does nothing and whose connections stay open; all processes of Postgres stand still."""
        pid = self.process(name).pid
        os.killpg(pid, signal.SIGSTOP) if name != "Postgres" else _signal_family(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(pid, signal.SIGCONT) if name != "Postgres" else _signal_family(pid, signal.SIGCONT)

    def redis(self) -> redis.Redis:
        """Redis, as an operator."""
        return connect_redis(self.settings.redis_url, 5)

    def vault(self) -> VaultApi:
        """Vault, with its root token."""
        bao = self.server("OpenBao")
        return VaultApi(HOST, bao.ports[0]).with_token((bao.folder / "root.token").read_text())

    @contextmanager
    def database(self) -> Iterator[psycopg.Connection[dict[str, Any]]]:
        """The ledger, as an operator; each statement commits."""
        url = self.settings.database_url
        options = "-c statement_timeout=60000 -c timezone=UTC"
        with psycopg.connect(
            url, autocommit=True, row_factory=dict_row, connect_timeout=10, options=options
        ) as connection:
            yield connection

    def query(self, sql: str, *given: Any) -> list[dict[str, Any]]:
        """Rows, as soon as Postgres answers."""

        def rows() -> list[list[dict[str, Any]]] | None:
            with suppress(psycopg.OperationalError), self.database() as connection:
                return [connection.execute(sql.encode(), given).fetchall()]
            return None

        found = wait_for(rows, "answer of Postgres", 60)
        assert found
        return found[0]

    # The work

    def submit(
        self,
        count: int,
        prefix: str = "batch",
        kind: str = "complete",
        *,
        provider: str = PROVIDER,
        name: str | None = None,
    ) -> BatchHandle:
        """A batch whose jobs are named ``prefix-0`` and so on."""
        with Producer(self.settings) as producer:
            batch = producer.submit_batch(kind, batch_jobs(count, prefix, kind), provider=provider, name=name)
        self.accepted |= {f"{prefix}-{number}" for number in range(count)}
        return batch

    @contextmanager
    def single_jobs(self, prefix: str = "single") -> Iterator[SingleJobs]:
        """A stream of single jobs until the block is left."""
        with SingleJobs(self.settings, PROVIDER, prefix) as stream:
            yield stream
        self.accepted |= set(stream.accepted)
        self.uncertain |= set(stream.uncertain)

    def ended(self) -> int:
        """Jobs that have ended."""
        return int(self.query("SELECT count(*) AS n FROM ends")[0]["n"])

    def progress(self, more: int, timeout_s: float = 60.0) -> None:
        """Waits until so many more jobs have ended."""
        target = self.ended() + more
        wait_for(
            lambda: self.ended() >= target, f"{more} more jobs; the provider got {len(self.requests())}", timeout_s
        )

    def calls_lost(self) -> int:
        """Calls of which the ledger says that they may have been paid in vain."""
        return int(self.query("SELECT count(*) AS n FROM calls WHERE outcome <> 'succeeded'")[0]["n"])

    def seconds_until(self, condition: Callable[[], object], what: str, timeout_s: float = 60.0) -> float:
        """How long a condition takes to come true."""
        begun = time.monotonic()
        wait_for(condition, what, timeout_s)
        return time.monotonic() - begun

    def now(self) -> datetime:
        """Postgres' clock, by which all times of the ledger are."""
        at: datetime = self.query("SELECT clock_timestamp() AS at")[0]["at"]
        return at

    def run_again_s(self, jobs: Collection[str], since: datetime) -> float:
        """Seconds from a moment until the last of these jobs was free to run again, and the first of them did."""
        sql = """
        WITH later AS (SELECT job_id, state, at FROM moves WHERE job_id = ANY (%s::uuid[]) AND at > %s)
        SELECT extract(epoch FROM greatest(
            (SELECT max(at) FROM (SELECT min(at) AS at FROM later GROUP BY job_id) AS freed),
            (SELECT min(at) FROM later WHERE state = 'running')) - %s)::float8 AS longest
        """
        return float(self.query(sql, list(jobs), since, since)[0]["longest"] or 0.0)

    def goes_on_after(self, more: int = 1) -> float:
        """Seconds until jobs end that had not ended at this moment and that were begun after it."""
        moment = self.now()
        sql = "SELECT count(*) AS n FROM calls WHERE started_at > %s AND outcome = 'succeeded'"
        return self.seconds_until(lambda: int(self.query(sql, moment)[0]["n"]) >= more, "new calls that succeed")

    def settled(self, timeout_s: float = END_S, calls_a_job: int = 1) -> Report:
        """Waits until everything has ended and holds the ledger against the journal.

        Args:
            timeout_s: for the end of the last job.
            calls_a_job: see ``check``.

        Raises:
            AssertionError: with every finding.
        """
        sql = "SELECT count(*) AS n FROM jobs WHERE state IN ('queued', 'running')"
        wait_for(lambda: not self.query(sql)[0]["n"], "end of all jobs", timeout_s)
        report = self.report(calls_a_job)
        assert not report.findings, report.findings
        unbalanced = self.query(UNBALANCED)
        assert not unbalanced, unbalanced
        return report

    def report(self, calls_a_job: int) -> Report:
        """What the check says now."""
        jobs = [JobRow(**row) for row in self.query(JOB_ROWS)]
        calls = [CallRow(**row) for row in self.query(CALL_ROWS)]
        return check(self.accepted, jobs, calls, self.requests(), self.uncertain, calls_a_job)


JOB_ROWS = """
SELECT custom_id AS identity, state, result::text AS result, error_type,
       (SELECT count(*) FROM ends WHERE job_id = jobs.id) AS ends
FROM jobs
"""
CALL_ROWS = "SELECT custom_id AS identity, attempt, outcome FROM calls JOIN jobs ON jobs.id = calls.job_id"
UNBALANCED = """
SELECT b.id, b.total, b.running, b.succeeded, b.failed, b.cancelled FROM batches b
WHERE b.running <> 0 OR b.finished_at IS NULL OR (b.succeeded, b.failed, b.cancelled, b.total) NOT IN (
    SELECT count(*) FILTER (WHERE state = 'succeeded'), count(*) FILTER (WHERE state = 'failed'),
           count(*) FILTER (WHERE state = 'cancelled'), count(*) FROM jobs WHERE batch_id = b.id)
"""


def small(arena: Arena, **more: str) -> dict[str, str]:
    """A worker that makes few calls at once, so that a batch outlasts what is done to it."""
    return arena.worker_environment | {"TICKETFLOW_CALLS_IN_FLIGHT": str(CALLS_IN_FLIGHT)} | more


def batch_jobs(count: int, prefix: str = "batch", kind: str = "complete") -> list[NewJob]:
    """Jobs that name themselves."""
    return [KINDS[kind].accept(_input(kind, f"{prefix}-{n}"), f"{prefix}-{n}") for n in range(count)]


def _input(kind: str, identity: str) -> dict[str, str]:
    if kind == "complete":
        return {"prompt": f"JOB[{identity}] please"}
    return {"id": identity, "subject": "Cannot log in", "body": f"JOB[{identity}] please"}


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _signal_family(pid: int, number: signal.Signals) -> None:
    """Postgres' backends are in sessions of their own."""
    from tests.support.processes import descendants

    for member in descendants(pid):
        with suppress(ProcessLookupError):
            os.kill(member, number)
