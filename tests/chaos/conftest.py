"""Servers that the scenarios may break, a seed that can be given again, and a table at the end.

``CHAOS_SEED`` repeats a run's choices; ``CHAOS=full`` takes the long form of each scenario.
"""

import itertools
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from config.redis_link import connect_redis
from embedded.servers import EmbeddedServers
from jobs.migrate import migrate
from tests.chaos.arena import Arena
from tests.chaos.table import Table
from tests.support.databases import copied_database
from tests.support.reports import noted

SEED = os.environ["CHAOS_SEED"] = os.environ.get("CHAOS_SEED") or secrets.token_hex(4)
"""Processes that run scenarios for this one find it there."""

FULL = os.environ.get("CHAOS") == "full"
ROW = "chaos"
_numbers = itertools.count(1)


def pytest_report_header() -> str:
    """Says how to repeat the run."""
    return f"chaos: seed {SEED} (CHAOS_SEED={SEED} repeats its choices), {'full' if FULL else 'short'} form"


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    """Servers of the scenarios' own; none is left broken by them."""
    with EmbeddedServers(tmp_path_factory.mktemp("servers"), persistent=False) as running:
        migrate(running.database_url)
        yield running


@pytest.fixture
def arena(servers: EmbeddedServers, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Arena]:
    """A database and an empty Redis of the scenario's own."""
    client = connect_redis(servers.redis_url)
    client.flushall()
    client.close()
    chance = Random(f"{SEED} {request.node.name}")
    with copied_database(servers.database_url, f"chaos_{next(_numbers)}") as url:
        own = {"TICKETFLOW_DATABASE_URL": url}
        arena = Arena(servers, servers.worker_environment | own, servers.operator_environment | own, tmp_path, chance)
        try:
            arena.open()
            yield arena
        finally:
            arena.close()


@pytest.fixture
def table(request: pytest.FixtureRequest) -> Iterator[Table]:
    """Where a scenario enters what it measured; it travels with the test's report."""
    table = Table()
    yield table
    request.node.user_properties += [(ROW, row) for row in table.rows]


@pytest.fixture
def full() -> bool:
    """Whether the long form was asked for."""
    return FULL


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the table."""
    rows = noted(terminalreporter, ROW)
    if rows:
        terminalreporter.section(f"chaos, seed {SEED}")
        terminalreporter.write_line(Table(rows).text())
