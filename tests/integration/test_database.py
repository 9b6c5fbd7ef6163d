"""The pool of connections to a real Postgres: what is closed is not lent, and what works is not asked each time."""

import re
from collections.abc import Callable
from contextlib import closing

import pytest
from psycopg_pool import ConnectionPool

from config import database as module
from config.database import Database
from jobs.ids import new_id
from jobs.statements import statement
from jobs.work import WorkLedger
from tests.conftest import Stack
from tests.support.waiting import wait_for

MY_PID = "SELECT pg_backend_pid() AS pid"


def _pid(database: Database) -> int:
    return int(database.query(MY_PID)[0]["pid"])


def test_a_connection_that_postgres_has_closed_is_not_lent(database: Database, stack: Stack) -> None:
    lost = [_pid(database)]
    with database.transaction() as first:  # so that there are two
        lost += [_pid(database), first.execute(MY_PID.encode()).fetchall()[0]["pid"]]
    admin = Database(stack.settings.database_url, "admin")
    admin.query("SELECT pg_terminate_backend(pid) FROM unnest(%(pids)s) AS pid", {"pids": sorted(set(lost))})
    living = "SELECT pid FROM pg_stat_activity WHERE pid = ANY (%(pids)s)"
    wait_for(lambda: not admin.query(living, {"pids": lost}), "end of these connections")
    admin.close()
    assert _pid(database) not in lost
    with database.transaction() as first, database.transaction() as second:
        for connection in (first, second):
            assert connection.execute(MY_PID.encode()).fetchall()[0]["pid"] not in lost


def test_only_one_that_nobody_has_used_for_long_is_asked_first(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    ask = ConnectionPool.check_connection
    monkeypatch.setattr(ConnectionPool, "check_connection", staticmethod(_counted(ask, asked.append)))
    _pid(database)  # a new one
    asked.clear()
    for _ in range(3):
        _pid(database)
    assert asked == []
    monkeypatch.setattr(module, "CHECK_AFTER_S", 0.0)
    _pid(database)
    assert len(asked) == 1


@pytest.mark.parametrize("name", ["claim", "suspects", "begin_calls", "settle", "release"])
def test_a_plan_made_while_there_were_no_jobs_is_good_for_a_hundred_thousand(stack: Stack, name: str) -> None:
    """A worker's connection plans once, as a rule before the first job: it is not to read all jobs by then."""
    numbers = dict[str, str]()
    sql = re.sub(r"%\((\w+)\)[sb]", lambda m: numbers.setdefault(m[1], f"${len(numbers) + 1}"), statement(name))
    database = Database(stack.settings.database_url, "planning", plans_once=True)
    with closing(database), database.autocommit() as connection:
        plan = connection.execute(f"EXPLAIN (GENERIC_PLAN) {sql}".encode(), prepare=False).fetchall()
    text = "\n".join(row["QUERY PLAN"] for row in plan)
    assert "jobs_pkey" in text
    assert "Seq Scan on jobs" not in text
    assert "Seq Scan on calls" not in text


def _first_line(sql: str) -> str:
    return sql.split("\n")[0]


def _counted(ask: Callable[..., None], note: Callable[[object], None]) -> Callable[..., None]:
    def both(connection: object) -> None:
        note(connection)
        ask(connection)

    return both


def test_what_a_worker_does_for_every_job_is_planned_once(database: Database, stack: Stack) -> None:
    """And what it sweeps, for what is given; see ``sweeper_lock.sql``."""
    worker = Database(stack.settings.database_url, "worker", 1, plans_once=True)
    sql = "SELECT statement, generic_plans AS once, custom_plans AS anew FROM pg_prepared_statements"
    for one in (worker, database):
        work = WorkLedger(one, "worker")
        for _ in range(3):
            assert (work.claim([new_id()]), work.mend_lost(3)) == ([], ([], 0))
    plans = {_first_line(row["statement"]): (row["once"], row["anew"]) for row in worker.query(sql)}
    assert plans[_first_line(statement("claim"))] == (3, 0)
    assert plans[_first_line(statement("lost_jobs"))] == (0, 3)
    assert database.query(sql) == [], "others prepare what they ask for the sixth time"
    worker.close()
