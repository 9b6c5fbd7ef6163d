"""Workers that are killed, stopped in turn, frozen, or killed at a chosen point of a job or by the job itself."""

import signal
from pathlib import Path

import pytest

from tests.chaos.arena import BOUND_S, CALLS_IN_FLIGHT, END_S, JOBS, Arena, small
from tests.chaos.crew import Crew
from tests.chaos.table import Table
from tests.chaos.worker_app import DEATHS, FROZEN, LOST_ANSWERS
from tests.support.waiting import wait_for

GRACE_AND_MORE_S = 15.0
SHORT_LEASE = {"TICKETFLOW_LEASE_S": "6"}
"""Where no bound of time is held; those that are hold with the settings as they are."""

pytestmark = pytest.mark.timeout(800)


def in_hand(arena: Arena, pid: int) -> dict[str, int]:
    """Jobs that a process has by the ledger, with their fences."""
    rows = arena.query("SELECT id, fence FROM jobs WHERE state = 'running' AND worker_id LIKE %s", f"%:{pid}:%")
    return {str(row["id"]): row["fence"] for row in rows}


def test_ten_kills_in_one_batch(arena: Arena, table: Table, tmp_path: Path, full: bool) -> None:
    """All three processes at once, as when a machine is lost, and then any of those that are up, while another one is.

    Slices are as small as the calls in flight are few, or jobs that are free again would stand in line for seconds.
    """
    arena.plan()
    more = 500 if full else 20
    with Crew(small(arena, TICKETFLOW_SLICE_JOBS=str(CALLS_IN_FLIGHT)), tmp_path, 3) as crew:
        with arena.single_jobs():
            arena.submit(JOBS * 10 if full else JOBS)
            arena.progress(more)
            killed = [crew.kill(place) for place in range(3)]
            kills = [(arena.now(), in_hand(arena, pid)) for pid in killed]
            for _ in range(7):
                arena.progress(more)
                pid = crew.kill(arena.chance.choice(wait_for(crew.several_up, "two workers that are up", 60)))
                kills.append((arena.now(), in_hand(arena, pid)))
        report = arena.settled(400 if full else END_S)
    longest_s = max(arena.run_again_s(jobs, killed_at) for killed_at, jobs in kills)
    table.add("1 ten SIGKILLs", report, longest_s)
    assert any(jobs for _, jobs in kills), "they had jobs in hand"
    assert report.paid_twice <= arena.calls_lost(), "each of them is counted"
    assert longest_s <= BOUND_S
    assert crew.statuses.count(-signal.SIGKILL) == 10


def test_a_crash_at_each_point_of_a_job(arena: Arena, table: Table, tmp_path: Path) -> None:
    """A process for each point, which dies the first time that it comes there."""
    arena.plan(delay_s=0.1)
    with Crew(small(arena, **SHORT_LEASE), tmp_path, len(DEATHS) + 1, dict(enumerate(DEATHS))) as crew:
        with arena.single_jobs():
            arena.submit(JOBS)
            wait_for(lambda: len(crew.statuses) == len(DEATHS), f"death of each: {crew.log}", 90)
        report = arena.settled()
    table.add("1 a crash at each point", report, None)
    assert crew.statuses == [-signal.SIGKILL] * len(DEATHS)
    assert report.failed == 0
    assert report.paid_twice <= min(arena.calls_lost(), len(DEATHS) * CALLS_IN_FLIGHT)


def test_an_answer_of_postgres_is_lost(arena: Arena, table: Table, tmp_path: Path) -> None:
    """What was asked is done, and the worker hears that Postgres is away: it asks again, and nothing is done twice."""
    arena.plan(delay_s=0.1)
    with Crew(small(arena), tmp_path, len(LOST_ANSWERS) + 1, dict(enumerate(LOST_ANSWERS))) as crew:
        with arena.single_jobs():
            arena.submit(JOBS)
            wait_for(lambda: crew.log.count("lost, for the test") >= len(LOST_ANSWERS), f"lost answers: {crew.log}", 60)
        report = arena.settled()
    table.add("3 an answer is lost", report, None)
    assert (report.failed, report.paid_twice) == (0, 0)
    assert crew.statuses == []


def test_every_worker_is_stopped_in_turn(arena: Arena, table: Table, tmp_path: Path) -> None:
    arena.plan()
    with Crew(small(arena), tmp_path, 3) as crew:
        with arena.single_jobs():
            arena.submit(JOBS)
            arena.progress(50)
            stops = [crew.terminate(place, GRACE_AND_MORE_S) for place in range(3)]
            arena.progress(50)
        report = arena.settled()
    table.add("5 rolling restart", report, None)
    assert (report.failed, report.paid_twice) == (0, 0)
    assert crew.statuses == [0, 0, 0], crew.log
    assert max(stops) <= GRACE_AND_MORE_S


def test_two_workers_that_both_believe_they_own_a_slice(arena: Arena, table: Table, tmp_path: Path) -> None:
    arena.plan()
    with Crew(small(arena), tmp_path, 2) as crew:
        with arena.single_jobs():
            arena.submit(JOBS)
            arena.progress(50)
            pid = crew.send(0, signal.SIGSTOP)
            frozen_at, jobs = arena.now(), in_hand(arena, pid)
            assert jobs
            lost = "SELECT count(*) AS n FROM jobs WHERE id = ANY (%s::uuid[]) AND fence > %s"

            def taken_over() -> bool:
                return all(arena.query(lost, [job], fence)[0]["n"] for job, fence in jobs.items())

            wait_for(taken_over, f"others to take over; {crew.log}", 60)
            crew.send(0, signal.SIGCONT)
            arena.progress(100)
        report = arena.settled()
    longest_s = arena.run_again_s(jobs, frozen_at)
    table.add("8 frozen past its lease", report, longest_s)
    assert report.paid_twice <= arena.calls_lost()
    assert longest_s <= BOUND_S
    own = "SELECT count(*) AS n FROM calls WHERE worker_id LIKE %s AND started_at < %s AND outcome = 'lost'"
    assert arena.query(own, f"%:{pid}:%", frozen_at)[0]["n"], "its calls were in flight"
    settled = "SELECT count(*) AS n FROM jobs WHERE id = ANY (%s::uuid[]) AND fence = %s"
    assert not any(arena.query(settled, [job], fence)[0]["n"] for job, fence in jobs.items())


def test_a_worker_is_frozen_while_it_settles(arena: Arena, table: Table, tmp_path: Path) -> None:
    """Its transaction has the batch's row locked, which all others need: Postgres ends it, and they go on."""
    arena.plan()
    with Crew(small(arena), tmp_path, 2, {0: FROZEN}) as crew:
        with arena.single_jobs():
            arena.submit(JOBS)
            frozen = crew.places[0].process.pid
            wait_for(lambda: is_stopped(frozen), f"a frozen worker: {crew.log}", 60)
            frozen_at, jobs = arena.now(), in_hand(arena, frozen)
            arena.progress(CALLS_IN_FLIGHT * 2)
            back_s = (arena.now() - frozen_at).total_seconds()
            wait_for(lambda: not in_hand(arena, frozen), f"others to take over; {crew.log}", 60)
            crew.send(0, signal.SIGCONT)
            arena.progress(100)
        report = arena.settled()
    table.add("8 frozen in mid-settlement", report, max(back_s, arena.run_again_s(jobs, frozen_at)))
    assert back_s <= BOUND_S
    assert arena.run_again_s(jobs, frozen_at) <= BOUND_S
    assert report.failed == 0
    assert report.paid_twice <= arena.calls_lost()
    assert crew.statuses == [], crew.log


def is_stopped(pid: int) -> bool:
    """Whether a process stands still."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


def test_a_job_that_kills_its_worker_each_time(arena: Arena, table: Table, tmp_path: Path, full: bool) -> None:
    arena.plan()
    with Crew(small(arena, **({} if full else SHORT_LEASE)), tmp_path, 2) as crew:
        with arena.single_jobs():
            arena.submit(JOBS // 2)
            arena.submit(1, "poison", name="poison")
            arena.submit(JOBS // 2, "more")
            sql = "SELECT state, losses, error_type, error_message FROM jobs WHERE custom_id = 'poison-0'"
            wait_for(lambda: arena.query(sql)[0]["state"] == "failed", f"quarantine; {crew.log}", 150)
        report = arena.settled()
    table.add("7 a job that kills", report, None)
    (row,) = arena.query(sql)
    assert (row["losses"], row["error_type"]) == (3, "WorkerLostError")
    assert report.failed == 1, "all others have succeeded"
    assert crew.statuses == [-signal.SIGKILL] * 3
    assert report.paid_twice <= arena.calls_lost()
