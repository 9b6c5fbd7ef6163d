"""Child processes that never outlive their owner: started in a session of their own, ended with all of their group."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from config.errors import StartFailedError

POLL_S = 0.01
KILL_WAIT_S = 5.0
LOG_KEPT_BYTES = 10 * 1024 * 1024
LOG_TAIL_LINES = 12
_LAUNCHER = Path(__file__).with_name("launcher.py")


@dataclass(frozen=True)
class Identity:
    """The user that a program runs as when we are root; ``any_path``: closed folders and files do not stop it."""

    uid: int
    gid: int
    any_path: bool


@dataclass(frozen=True)
class Command:
    """A program to start: the whole environment it gets, the file its output is added to, and how it is to die.

    ``death_signal`` is what it gets when this process ends without stopping it (Linux); ``stdin`` is what it may read.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    cwd: Path
    log: Path
    stdin: bytes = field(default=b"", repr=False)
    death_signal: signal.Signals = signal.SIGKILL
    identity: Identity | None = None


class ChildProcess:
    """One running program; when its first process ends, what is left of its process group is killed."""

    def __init__(self, command: Command) -> None:
        how: dict[str, int] = {"parent_pid": os.getpid(), "death_signal": command.death_signal}
        how |= vars(command.identity) if command.identity else {}
        self.log = command.log
        self.started_at = time.monotonic()
        with _open_log(command.log) as log:
            self._log_start = log.tell()
            self._popen = subprocess.Popen(  # noqa: S603 - commands are ours
                [sys.executable, "-I", "-S", str(_LAUNCHER), json.dumps(how), *command.argv],
                env=command.env,
                cwd=command.cwd,
                stdin=subprocess.PIPE if command.stdin else subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C at the terminal is for us: we stop the others in order
            )
        if self._popen.stdin:
            with contextlib.suppress(BrokenPipeError), self._popen.stdin as stdin:  # a few bytes: they fit the pipe
                stdin.write(command.stdin)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    def status(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        if self._popen.returncode is None and _has_ended(self.pid):
            self._signal_group(
                signal.SIGKILL
            )  # before the first process is reaped: until then its number is nobody else's
        return self._popen.poll()

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the first process, if it still runs."""
        if self.status() is None:
            self._popen.send_signal(number)

    def wait(self, deadline: float) -> int | None:
        """Waits for the end, but not beyond ``deadline`` (monotonic seconds); returns the status."""
        while (status := self.status()) is None and time.monotonic() < deadline:
            time.sleep(POLL_S)
        return status

    def terminate_group(self) -> None:
        """Asks all of the group to end, so that they can remove what would outlive them, like shared memory."""
        if self.status() is None:
            self._signal_group(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the whole group at once."""
        if self.status() is None:
            self._signal_group(signal.SIGKILL)
            self._popen.send_signal(signal.SIGKILL)  # it may have left the group that it was given
            self.wait(time.monotonic() + KILL_WAIT_S)

    def output(self) -> str:
        """What it has written to its log so far, without what earlier runs wrote there."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def failure(self, name: str, reason: str) -> StartFailedError:
        """An error that says why, and shows the end of the log."""
        lines = self.output().splitlines()[-LOG_TAIL_LINES:]
        end = "".join(f"\n  {line}" for line in lines)
        return StartFailedError(name, str(self.log), f"{reason}; log: {self.log}{end}")

    def _signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # gone, or (macOS) only a zombie is left in it
            os.killpg(self.pid, number)


def _has_ended(pid: int) -> bool:
    """Whether a child has ended, without reaping it; always False where the system cannot tell (macOS)."""
    if not hasattr(os, "waitid"):
        return False
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _open_log(path: Path) -> BinaryIO:
    """Opens a log that only we may read, to add to it; one that has grown large is set aside first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > LOG_KEPT_BYTES:
            path.replace(path.with_suffix(".1.log"))
    log = open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")  # noqa: SIM115
    log.seek(0, os.SEEK_END)
    return log
