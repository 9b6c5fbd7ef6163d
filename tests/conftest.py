"""Real servers for the tests: started once a session, on free ports, in a temporary folder; each test gets its own
database and its own Redis database, so tests cannot see each other's jobs."""

import asyncio
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvloop

from config.redis_link import connect_redis
from config.settings import PREFIX, Settings
from embedded.servers import EmbeddedServers
from jobs.migrate import migrate
from tests.support.databases import copied_database
from tests.support.reports import noted

_names = itertools.count(1)
MEASURED = "measured"


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests run on the loop that workers run on."""
    return {"uvloop": uvloop.new_event_loop}


@dataclass
class Stack:
    """One test's own part of the servers.

    Args:
        worker_environment: ``TICKETFLOW_*`` for worker processes, with an AppRole that only reads keys.
        operator_environment: ``TICKETFLOW_*`` for commands and producers, with an operator's token.
    """

    worker_environment: dict[str, str] = field(repr=False)
    operator_environment: dict[str, str] = field(repr=False)

    @property
    def settings(self) -> Settings:
        """An operator's settings."""
        return _settings(self.operator_environment)

    @property
    def worker_settings(self) -> Settings:
        """A worker's settings."""
        return _settings(self.worker_environment)


def _settings(environment: dict[str, str]) -> Settings:
    values = {name.removeprefix(PREFIX).lower(): value for name, value in environment.items()}
    return Settings.model_validate(values)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    """Valkey, Postgres and OpenBao, with the ledger's tables in a database to copy from."""
    with EmbeddedServers(tmp_path_factory.mktemp("servers"), persistent=False) as running:
        migrate(running.database_url)
        yield running


@pytest.fixture
def stack(servers: EmbeddedServers) -> Iterator[Stack]:
    """A fresh, migrated database and an empty Redis database on the session's servers."""
    number = next(_names)
    redis_url = servers.redis_url.rsplit("/", 1)[0] + f"/{number % 15 + 1}"
    client = connect_redis(redis_url)
    client.flushdb()
    with copied_database(servers.database_url, f"test_{number}") as url:
        own = {"TICKETFLOW_DATABASE_URL": url, "TICKETFLOW_REDIS_URL": redis_url}
        yield Stack({**servers.worker_environment, **own}, {**servers.operator_environment, **own})
    client.flushdb()
    client.close()


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of whoever runs the tests has a part in them."""
    for name in list(os.environ):
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Lines on what a test measured; they stand at the end of the report, and nothing is asserted of them."""
    lines = list[str]()
    yield lines
    request.node.user_properties += [(MEASURED, line) for line in lines]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints what was measured."""
    lines = noted(terminalreporter, MEASURED)
    if lines:
        terminalreporter.section(MEASURED)
        terminalreporter.write_line("\n".join(lines))
