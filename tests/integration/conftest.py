"""What most of these tests share."""

from collections.abc import Iterator

import pytest

from config.database import Database
from jobs.ledger import Ledger
from jobs.work import WorkLedger
from tests.conftest import Stack
from tests.support.llm_server import LLMServer


@pytest.fixture(scope="module")
def llm() -> Iterator[LLMServer]:
    """A server of models for a module's tests; who scripts it resets it first."""
    with LLMServer() as server:
        yield server


@pytest.fixture
def database(stack: Stack) -> Iterator[Database]:
    """The test's own, with its tables."""
    database = Database(stack.settings.database_url, "test", size=10)
    yield database
    database.close()


@pytest.fixture
def ledger(database: Database) -> Ledger:
    """The producer's side of it."""
    return Ledger(database)


@pytest.fixture
def work(database: Database) -> WorkLedger:
    """A worker's side of it, with a lease."""
    work = WorkLedger(database, "worker-1")
    work.renew_lease(60)
    return work
