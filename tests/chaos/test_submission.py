"""The submitting program is killed at any point; submitting again completes what it began, and nothing is twice."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.arena import JOBS, Arena, small
from tests.chaos.crew import Crew
from tests.chaos.submitter import BATCH_POINTS, SINGLE_POINT
from tests.chaos.table import Table
from tests.support.workers import ROOT, clean_environment

pytestmark = pytest.mark.timeout(400)


def submit(arena: Arena, prefix: str, count: int, point: str = "") -> int:
    """Runs the submitting program; its exit status."""
    environment = clean_environment(arena.operator_environment) | {"CHAOS_CRASH": point}
    command = [sys.executable, "-m", "tests.chaos.submitter", prefix, str(count), str(arena.folder)]
    return subprocess.run(command, env=environment, cwd=ROOT, timeout=60, check=False).returncode


def test_the_submitting_program_is_killed(arena: Arena, table: Table, tmp_path: Path) -> None:
    arena.plan(delay_s=0.05)
    with Crew(small(arena), tmp_path, 2) as crew:
        with arena.single_jobs():
            for point in BATCH_POINTS:
                prefix = point.replace(" ", "-")
                assert submit(arena, prefix, JOBS, point) == -signal.SIGKILL
                assert submit(arena, prefix, JOBS) == 0
                arena.accepted |= {f"{prefix}-{number}" for number in range(JOBS)}
            assert submit(arena, "alone", 0, SINGLE_POINT) == -signal.SIGKILL
            arena.accepted.add("alone")  # its row is there: a worker sends its message
        report = arena.settled()
    table.add("10 submitter killed at 5 points", report, None)
    assert (report.failed, report.paid_twice) == (0, 0)
    assert len(arena.query("SELECT id FROM batches")) == len(BATCH_POINTS)
    assert crew.statuses == [], crew.log
