"""What the embedded servers share: a folder, a log, ports that are free, a start that ends, an orderly stop."""

import os
import secrets
import shutil
import signal
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from config.errors import StartFailedError, UsageError
from embedded.children import ChildProcesses
from embedded.process import POLL_S, ChildProcess, Command

HOST = "127.0.0.1"
START_S = 30.0
PORT_ATTEMPTS = 5
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class LocalServer(ABC):
    """One server program in a folder of its own, reachable on 127.0.0.1 only.

    Args:
        folder: where all servers live; this one uses the subfolder of its ``slug``.
        persistent: whether what it holds must survive a stop; if not, it may save the work.
        children: owns the processes.
    """

    name: ClassVar[str]
    slug: ClassVar[str]
    ports_needed: ClassVar[int] = 1
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    quick_stop_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(self, folder: Path, persistent: bool, children: ChildProcesses) -> None:
        self.folder = folder / self.slug
        self.log = folder / "logs" / f"{self.slug}.log"
        self.persistent = persistent
        self.ports: tuple[int, ...] = ()
        self._children = children
        self.process: ChildProcess | None = None
        self._asked: ChildProcess | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.folder)!r})"

    def start(self) -> None:
        """Starts it on free ports and returns when it serves.

        Raises:
            StartFailedError: it ended, or does not serve in time; the end of its log is quoted.
            UsageError: its program is not installed.
        """
        self._prepare()
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self.ports = free_ports(self.ports_needed)
            process = self.respawn()
            try:
                self._wait_until(process, self._is_ready)
            except _PortTakenError:
                if attempt == PORT_ATTEMPTS:
                    raise
            else:
                self._set_up(process)
                return

    def respawn(self) -> ChildProcess:
        """Runs its program, also again after it ended: same ports, same credentials; it serves soon after."""
        self.process = self._children.spawn(self._command())
        return self.process

    def ask_to_stop(self) -> None:
        """Begins an orderly stop, or where nothing is kept a quick one."""
        if self.process and self.process is not self._asked:  # a second signal would make some of them leave at once
            self._asked = self.process
            self.process.send(self.stop_signal if self.persistent else self.quick_stop_signal)

    def wait_stopped(self, deadline: float) -> None:
        """Waits for the end until ``deadline`` (monotonic seconds), then kills."""
        self.ask_to_stop()  # a start that is broken off may have brought it up since we asked
        if self.process and self.process.wait(deadline) is None:
            self.process.kill()

    def remove_files(self) -> None:
        """Removes all that it wrote."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.log.unlink(missing_ok=True)

    @abstractmethod
    def _prepare(self) -> None:
        """Makes the files that it needs, once."""

    @abstractmethod
    def _command(self) -> Command:
        """The command for the current ``ports``."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Whether it serves; asked again and again."""

    def _set_up(self, process: ChildProcess) -> None:  # noqa: B027 - most need nothing
        """Puts into it what must be there before anyone uses it."""

    def _read(self, file: Path) -> str:
        """A file that an earlier start wrote, and without which what that start made cannot be used."""
        try:
            return file.read_text()
        except OSError as error:
            reason = (
                f"{file} is needed and cannot be read ({error.strerror}); without it {self.folder} is lost: remove it"
            )
            raise StartFailedError(self.name, str(self.log), reason) from None

    def _run(self, command: Command) -> ChildProcess:
        """Runs a helper program to its end, which must be a good one."""
        process = self._children.spawn(command)
        self._wait_until(process, lambda: process.status() == 0)
        return process

    def _wait_until(self, process: ChildProcess, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_S
        while True:
            status = process.status()  # before we ask: a helper that has ended well is ready
            if ready():
                return
            if status is not None:
                error = process.failure(self.name, f"it ended with status {status}")
                taken = "address already in use" in process.output().lower()
                raise _PortTakenError(*error.args) if taken else error
            if time.monotonic() > deadline:
                process.kill()
                raise process.failure(self.name, f"it does not serve after {START_S:g} s")
            time.sleep(POLL_S)


class _PortTakenError(StartFailedError):
    """Somebody took the port between our look and the server's bind."""


def free_ports(count: int) -> tuple[int, ...]:
    """Ports that nobody listens on now, all different; they may be taken by the time they are used."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind((HOST, 0))
        return tuple(sock.getsockname()[1] for sock in sockets)


def system_environment(**values: str) -> dict[str, str]:
    """The little that a server needs of our environment, and what is given."""
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | values


def new_password() -> str:
    """A random password of letters, digits, - and _, which need no quoting in a URL, in SQL or in a configuration."""
    return secrets.token_urlsafe(24)


def write_private(path: Path, content: bytes) -> None:
    """Writes a file that only we may read, in one step: it is there whole or not at all."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def program_of(package: str, pattern: str) -> Path:
    """The path of the server program in a package of the ``embedded`` extra.

    The package is found but not imported: importing these costs up to 150 ms, and one of them warns about its caches.

    Raises:
        UsageError: the package is not installed, or holds no program for this machine.
    """
    spec = find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for path in sorted(match for folder in folders for match in Path(folder).glob(pattern)):
        if os.access(path, os.X_OK):
            return path
    raise UsageError(
        f"no {Path(pattern).name} program for this machine (package {package}): pip install 'ticketflow[embedded]'"
    )
