"""Where a run takes place: the three servers, the provider, and for each run an empty Redis and a fresh database."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
import redis
from psycopg import sql

from bench.server import LLMServer
from config.keys import open_keys
from config.providers import Limits, Provider
from config.settings import PREFIX, Settings
from embedded.children import ChildProcesses
from embedded.process import ChildProcess, Command
from embedded.programs import ROOT, inherited_environment
from embedded.servers import EmbeddedServers
from jobs.migrate import migrate
from producer import Producer

PROVIDER_ID, MODEL, KEY = "custom-bench", "bench-1", "sk-bench-0123456789"
WIDE_LIMITS = Limits(requests_per_minute=1_000_000, tokens_per_minute=1_000_000_000, calls_in_flight=10_000)
"""Every call waits for its turn as it would anywhere, and none of these binds."""

STAGING = 1
"""The Redis database where messages gather before a run; those who work look into number 0."""


class Place:
    """The servers of all runs; Postgres and Valkey write to the disk as they would anywhere.

    Args:
        servers: running, migrated by us.
        llm: the provider.
        folder: for logs.
    """

    def __init__(self, servers: EmbeddedServers, llm: LLMServer, folder: Path) -> None:
        self.servers, self.llm, self.folder = servers, llm, folder
        self._numbers = itertools.count(1)
        self.redis = redis.Redis.from_url(servers.redis_url)
        self._own: dict[str, str] = {}
        migrate(servers.database_url)
        with Producer(self.settings()) as producer:
            producer.providers.add(
                Provider(
                    id=PROVIDER_ID,
                    name="Bench",
                    type="openai-compatible",
                    base_url=llm.url,
                    default_model=MODEL,
                    limits=WIDE_LIMITS,
                )
            )
        open_keys(self.settings()).store(PROVIDER_ID, KEY)

    @contextmanager
    def fresh(self) -> Iterator[None]:
        """An empty Redis and a database with the provider and nothing else, until the block ends."""
        base, template = self.servers.database_url.rsplit("/", 1)
        name = f"bench_{next(self._numbers)}"
        self.redis.flushall()
        self._admin("CREATE DATABASE {} TEMPLATE {}", name, template)
        self._own = {"TICKETFLOW_DATABASE_URL": f"{base}/{name}"}
        try:
            yield
        finally:
            self._own = {}
            # Not by force: that may not touch an autovacuum, which a plain one sends away; our own sessions are closed.
            self._admin("DROP DATABASE {}", name)

    def operator(self) -> dict[str, str]:
        """The environment of commands and producers."""
        return self.servers.operator_environment | self._own

    def worker(self) -> dict[str, str]:
        """The environment of workers."""
        return self.servers.worker_environment | self._own

    def staging(self) -> dict[str, str]:
        """The environment of producers whose messages are held back."""
        return self.operator() | {"TICKETFLOW_REDIS_URL": self.redis_url(STAGING)}

    def redis_url(self, number: int) -> str:
        """Redis, by the number of a database."""
        return f"{self.servers.redis_url.rsplit('/', 1)[0]}/{number}"

    def settings(self, environment: Mapping[str, str] | None = None) -> Settings:
        """Settings as a process with that environment has them; an operator's by default."""
        environment = environment or self.operator()
        return Settings.model_validate({k.removeprefix(PREFIX).lower(): v for k, v in environment.items()})

    def spawn(self, children: ChildProcesses, argv: Sequence[str], environment: Mapping[str, str]) -> ChildProcess:
        """Starts a program of the bench with our own environment, less its settings, and what is given."""
        log = self.folder / "logs" / f"{next(self._numbers)}-{argv[-1].replace('/', '_')[:40]}.log"
        return children.spawn(Command(tuple(argv), {**inherited_environment((PREFIX,)), **environment}, ROOT, log))

    def redis_bytes(self) -> int:
        """Memory that Redis uses."""
        return int(self.redis.info("memory")["used_memory"])

    def release(self, *keys: str) -> None:
        """Lets those who work see what has gathered: one step of Redis a key."""
        staging = redis.Redis.from_url(self.redis_url(STAGING))
        with staging:
            for key in keys:
                staging.move(key, 0)

    def _admin(self, statement: str, *names: str) -> None:
        url = self.servers.database_url
        with psycopg.connect(url, autocommit=True, dbname="postgres") as admin:
            admin.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
