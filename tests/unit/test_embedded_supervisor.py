"""What ends is started again: at once at first, later if it keeps ending."""

import os
import sys
import time
from pathlib import Path

import pytest

from embedded.children import ChildProcesses
from embedded.process import ChildProcess, Command
from embedded.supervisor import Supervisor, restart_delay_s


@pytest.mark.parametrize(
    ("former_s", "alive_s", "delay_s"),
    [(0, 0, 0.5), (0, 1000, 0.5), (0.5, 0, 1), (1, 59.9, 2), (16, 0, 30), (30, 0, 30), (30, 60, 0.5)],
)
def test_the_delay_doubles_until_it_has_lived_for_a_minute(former_s: float, alive_s: float, delay_s: float) -> None:
    assert restart_delay_s(former_s, alive_s) == delay_s


class _Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_it_starts_again_what_ended_and_says_so(tmp_path: Path) -> None:
    clock, events, children = _Clock(), list[str](), ChildProcesses()

    def start() -> ChildProcess:
        argv = (sys.executable, "-c", "import sys; sys.exit(3)")
        return children.spawn(Command(argv, dict(os.environ), tmp_path, tmp_path / "log"))

    supervisor = Supervisor(events.append, clock)
    supervisor.watch("worker 1", start(), start)
    for delay_s in ("0.5", "1", "2"):
        process = supervisor.processes[0][1]
        process.wait(time.monotonic() + 20)
        supervisor.look()
        log = tmp_path / "log"
        ended = f"worker 1 (pid {process.pid}) ended with status 3; starting again in {delay_s} s; log: {log}"
        assert events.pop() == ended
        supervisor.look()
        assert supervisor.processes[0][1] is process
        clock.now_s += float(delay_s)
        supervisor.look()
        assert events.pop() == f"worker 1 (pid {supervisor.processes[0][1].pid}) started again"
    children.close()


def test_a_start_that_fails_is_tried_again(tmp_path: Path) -> None:
    clock, events, children = _Clock(), list[str](), ChildProcesses()
    command = Command((sys.executable, "-c", ""), dict(os.environ), tmp_path, tmp_path / "log")
    process = children.spawn(command)
    process.wait(time.monotonic() + 20)
    children.refuse()
    supervisor = Supervisor(events.append, clock)
    supervisor.watch("worker 1", process, lambda: children.spawn(command))
    for _ in range(2):
        supervisor.look()
        clock.now_s += 0.5
    assert "next try in 1 s" in events[-1]
    assert "it is being stopped" in events[-1]
