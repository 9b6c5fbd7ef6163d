"""The submitting program is killed at any point; submitting again completes what it began, and nothing is twice."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.arena import END_S, JOBS, Arena, small
from tests.chaos.crew import Crew
from tests.chaos.submitter import BATCH_POINTS, SINGLE_POINT
from tests.chaos.table import Table
from tests.support.workers import ROOT, clean_environment

pytestmark = pytest.mark.timeout(800)


def submit(arena: Arena, prefix: str, count: int, point: str = "", killed_after_s: float | None = None) -> int:
    """Runs the submitting program; its exit status."""
    environment = clean_environment(arena.operator_environment) | {"CHAOS_CRASH": point}
    command = [sys.executable, "-m", "tests.chaos.submitter", prefix, str(count), str(arena.folder)]
    with subprocess.Popen(command, env=environment, cwd=ROOT) as program:
        try:
            return program.wait(killed_after_s or 60)
        except subprocess.TimeoutExpired:
            program.kill()
            return program.wait(60)


def moments(arena: Arena, count: int) -> list[float]:
    """Seconds after which to kill a submission, spread by chance over how long a whole one takes."""
    longest_s = arena.seconds_until(lambda: submit(arena, "whole", JOBS) == 0, "a whole submission")
    arena.accepted |= {f"whole-{number}" for number in range(JOBS)}
    return [arena.chance.uniform(0.0, longest_s) for _ in range(count)]


def test_the_submitting_program_is_killed(arena: Arena, table: Table, tmp_path: Path, full: bool) -> None:
    arena.plan(delay_s=0.05)
    with Crew(small(arena), tmp_path, 2) as crew:
        with arena.single_jobs():
            for point in BATCH_POINTS:
                prefix = point.replace(" ", "-")
                assert submit(arena, prefix, JOBS, point) == -signal.SIGKILL
                assert submit(arena, prefix, JOBS) == 0
                arena.accepted |= {f"{prefix}-{number}" for number in range(JOBS)}
            late = moments(arena, 10) if full else []
            for number, killed_after_s in enumerate(late):
                assert submit(arena, f"late-{number}", JOBS, killed_after_s=killed_after_s) in (0, -signal.SIGKILL)
                assert submit(arena, f"late-{number}", JOBS) == 0
                arena.accepted |= {f"late-{number}-{job}" for job in range(JOBS)}
            assert submit(arena, "alone", 0, SINGLE_POINT) == -signal.SIGKILL
            arena.accepted.add("alone")  # its row is there: a worker sends its message
        report = arena.settled(400 if full else END_S)
    table.add(f"10 submitter killed at {len(BATCH_POINTS) + 1 + len(late)} points", report, None)
    assert (report.failed, report.paid_twice) == (0, 0)
    assert len(arena.query("SELECT id FROM batches")) == len(BATCH_POINTS) + len(late) + (1 if late else 0)
    assert crew.statuses == [], crew.log
