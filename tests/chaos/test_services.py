"""Redis, Postgres and Vault emptied, killed, frozen, cut off, full or sealed while a batch and single jobs run."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.arena import BOUND_S, JOBS, Arena, small
from tests.chaos.crew import Crew
from tests.chaos.table import Table
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(400)
FROZEN_S = 20.0
Break = Callable[[Arena], None]


def stand_still(seconds: float) -> None:
    """The length of an outage is what the scenario is about: the one thing here that is a time and no condition."""
    until = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() >= until, "end of the outage", seconds + 60)


def redis_is_emptied(arena: Arena) -> None:
    arena.redis().flushall()


def redis_is_killed(arena: Arena) -> None:
    arena.kill("Valkey")
    arena.start("Valkey")


def redis_is_frozen(arena: Arena) -> None:
    with arena.frozen("Valkey"):
        stand_still(FROZEN_S)


def redis_cuts_all_connections(arena: Arena) -> None:
    client = arena.redis()
    client.client_kill_filter(_type="normal", skipme=True)
    client.client_kill_filter(_type="pubsub", skipme=True)


def postgres_is_restarted(arena: Arena) -> None:
    arena.kill("Postgres", signal.SIGINT)
    arena.start("Postgres")


def postgres_is_killed(arena: Arena) -> None:
    arena.kill("Postgres")
    arena.start("Postgres")


def postgres_is_frozen(arena: Arena) -> None:
    with arena.frozen("Postgres"):
        stand_still(FROZEN_S)


def postgres_is_away_for_longer_than_a_lease(arena: Arena) -> None:
    arena.kill("Postgres", signal.SIGINT)
    stand_still(FROZEN_S)
    arena.start("Postgres")


def postgres_cuts_all_connections(arena: Arena) -> None:
    arena.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid()"
    )


DISK_FULL = """
CREATE FUNCTION disk_is_full() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
CREATE TRIGGER full_jobs BEFORE INSERT OR UPDATE ON jobs FOR EACH STATEMENT EXECUTE FUNCTION disk_is_full();
CREATE TRIGGER full_calls BEFORE INSERT OR UPDATE ON calls FOR EACH STATEMENT EXECUTE FUNCTION disk_is_full();
"""


def postgres_has_a_full_disk(arena: Arena) -> None:
    """A trigger raises the error that Postgres raises then (53100), for each statement that writes jobs or calls."""
    with arena.database() as connection:
        connection.execute(DISK_FULL)
        stand_still(5)
        connection.execute("DROP FUNCTION disk_is_full() CASCADE")


REDIS = (redis_is_emptied, redis_is_killed, redis_cuts_all_connections, redis_is_frozen)
POSTGRES = (
    postgres_is_restarted,
    postgres_cuts_all_connections,
    postgres_has_a_full_disk,
    postgres_is_killed,
    postgres_is_frozen,
    postgres_is_away_for_longer_than_a_lease,
)


def through(arena: Arena, table: Table, folder: Path, outages: tuple[Break, ...], number: int) -> None:
    """One outage after another, in an order of chance, while batches and single jobs run."""
    arena.plan()
    recovery_s: dict[str, float] = {}
    with Crew(small(arena), folder, 2) as crew:
        with arena.single_jobs():
            for breaks in arena.chance.sample(outages, len(outages)):
                arena.submit(JOBS // 2, breaks.__name__)
                arena.progress(100)
                breaks(arena)
                recovery_s[breaks.__name__] = arena.goes_on_after()
        report = arena.settled()
    for name, seconds in recovery_s.items():
        table.add(f"{number} {name}", report, seconds)
    assert max(recovery_s.values()) <= BOUND_S, recovery_s
    assert (report.failed, report.paid_twice) == (0, 0), "what was in flight is settled, not repeated"
    assert crew.statuses == [], crew.log


def test_redis(arena: Arena, table: Table, tmp_path: Path) -> None:
    through(arena, table, tmp_path, REDIS, 2)


def test_postgres(arena: Arena, table: Table, tmp_path: Path) -> None:
    through(arena, table, tmp_path, POSTGRES, 3)
