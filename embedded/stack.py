"""The whole system on this machine, kept running: servers, worker processes and Flower."""

import atexit
import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from config.errors import StartFailedError
from config.settings import STACK_ENV
from embedded.children import ChildProcesses
from embedded.local_server import HOST, free_ports
from embedded.process import ChildProcess, Command
from embedded.programs import ROOT, Program, celery_programs
from embedded.servers import EmbeddedServers
from embedded.stack_files import FolderLock, write_stack_env
from embedded.supervisor import Supervisor

READY_S = 60.0
GRACE_S = 20.0
FAILED_START_GRACE_S = 3.0
_LOOK_S = 0.05


class Stack:
    """Servers, workers and Flower of one folder, started, supervised and stopped as one.

    Use: ``start``, ``run_forever``, and in any case ``stop``; it is nobody's second stack in the folder.

    Args:
        folder: for data, logs, the lock and ``stack.env``; ``.ticketflow`` is where commands look for the latter.
        persistent: whether jobs, providers and keys survive a stop; if not, the folder is emptied at the end.
        workers: number of worker processes.
        flower_port: where Flower listens, another port if it is taken; None for no Flower.
        on_event: gets one line for each thing worth knowing; no secrets.
        programs: what to run beside the servers.
    """

    def __init__(
        self,
        folder: Path,
        persistent: bool,
        workers: int,
        flower_port: int | None,
        on_event: Callable[[str], None],
        programs: Callable[[EmbeddedServers, int, int | None], Sequence[Program]] = celery_programs,
    ) -> None:
        self.folder = folder.resolve()
        self.env_file = self.folder / STACK_ENV.name
        self.flower_port = flower_port
        self._persistent, self._workers, self._on_event, self._programs_for = persistent, workers, on_event, programs
        self._logs = self.folder / "logs"
        self._started = False
        self._new()

    def _new(self) -> None:
        self.servers = EmbeddedServers(self.folder, self._persistent)
        self._lock = FolderLock(self.folder)
        self._children = ChildProcesses()
        self._programs: list[tuple[Program, ChildProcess]] = []
        self._supervisor = Supervisor(self._on_event)

    def start(
        self,
        prepare: Callable[[Mapping[str, str]], None],
        ready: Callable[[], int],
        ready_s: float = READY_S,
    ) -> None:
        """Starts everything and returns when all workers are ready; if that fails, nothing is left running.

        Args:
            prepare: called with the operator's environment before the first worker starts; migrates the database.
            ready: the number of workers that are ready.
            ready_s: seconds that the workers may take.

        Raises:
            ConflictError: a stack is running in this folder.
            StartFailedError: a server or worker ended, or is not ready in time.
        """
        self.folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._lock.acquire()
        self._started = True
        try:
            self._start_servers()
            prepare(self.servers.operator_environment)
            self._start_programs()
            self._wait_ready(ready, ready_s)
            write_stack_env(self.env_file, self._environment())
        except BaseException:
            self.stop(FAILED_START_GRACE_S)
            raise

    def run_forever(self, stop: threading.Event) -> None:
        """Starts again what ends, until ``stop`` is set."""
        self._supervisor.run(stop)

    def stop(self, grace_s: float = GRACE_S) -> None:
        """Stops workers and Flower, then the servers; does nothing if it is stopped.

        Args:
            grace_s: seconds that workers may take to finish the calls in hand, before they are killed.
        """
        if not self._started:
            return
        with contextlib.ExitStack() as steps:  # each step is taken even if one before it fails or is interrupted
            steps.callback(self._forget)
            steps.callback(self.servers.stop)
            steps.callback(self._children.close)
            steps.callback(self.env_file.unlink, missing_ok=True)
            self._stop_programs(grace_s)

    def _start_servers(self) -> None:
        begun = time.monotonic()
        self.servers.start()
        atexit.register(self.stop)  # after that of the servers, so that it runs before
        names = ", ".join(member.name for member in self.servers.members)
        self._on_event(f"{names} started in {time.monotonic() - begun:.1f} s; logs: {self._logs}")
        for member in self.servers.members:
            if member.process:
                self._supervisor.watch(member.name, member.process, member.respawn)

    def _start_programs(self) -> None:
        self.flower_port = self._port_for_flower()
        for program in self._programs_for(self.servers, self._workers, self.flower_port):
            process = self._spawn(program)
            self._on_event(f"{program.name} (pid {process.pid}) started; log: {process.log}")
            self._programs.append((program, process))
            self._supervisor.watch(program.name, process, partial(self._spawn, program))

    def _spawn(self, program: Program) -> ChildProcess:
        log = self._logs / f"{program.name.lower().replace(' ', '-')}.log"
        return self._children.spawn(Command(program.argv, program.env, ROOT, log))

    def _port_for_flower(self) -> int | None:
        if self.flower_port is None:
            return None
        if find_spec("flower") is None:
            self._on_event("Flower is not installed: pip install 'ticketflow[flower]'")
            return None
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of an earlier Flower do not count
            try:
                probe.bind((HOST, self.flower_port))
            except OSError:
                port = free_ports(1)[0]
                self._on_event(f"port {self.flower_port} is taken: Flower listens on {port}")
                return port
            return int(probe.getsockname()[1])

    def _wait_ready(self, ready: Callable[[], int], ready_s: float) -> None:
        deadline = time.monotonic() + ready_s
        while (count := ready()) < self._workers:
            for program, process in self._programs:
                status = process.status()
                if status is not None and program.essential:
                    raise process.failure(program.name, f"it ended with status {status}")
            if time.monotonic() > deadline:
                reason = f"{count} of {self._workers} are ready after {ready_s:g} s; logs: {self._logs}"
                raise StartFailedError("workers", str(self._logs), reason)
            time.sleep(_LOOK_S)

    def _environment(self) -> dict[str, str]:
        flower = {} if self.flower_port is None else {"TICKETFLOW_FLOWER_PORT": str(self.flower_port)}
        return self.servers.operator_environment | flower

    def _stop_programs(self, grace_s: float) -> None:
        self.env_file.unlink(missing_ok=True)  # first: nobody shall come in any more
        self._children.refuse()
        names = {program.name for program, _ in self._programs}
        running = [(name, process) for name, process in self._supervisor.processes if name in names]
        for _, process in running:
            process.send(signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        for name, process in running:
            if process.wait(deadline) is None:
                self._on_event(f"{name} (pid {process.pid}) is killed: it has not ended within {grace_s:g} s")
                process.kill()

    def _forget(self) -> None:
        if not self._persistent:
            for _, process in self._programs:
                process.log.unlink(missing_ok=True)
        self._lock.release(remove=not self._persistent)
        if not self._persistent:
            with contextlib.suppress(OSError):  # the caller may keep files of its own there
                self._logs.rmdir()
                self.folder.rmdir()
        atexit.unregister(self.stop)
        self._started = False
        self._new()
