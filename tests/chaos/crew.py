"""Worker processes with a supervisor, which starts a new one wherever one has ended, as systemd or Kubernetes do."""

import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.waiting import wait_for
from tests.support.workers import WorkerProcess, living

APP = "tests.chaos.worker_app"
LOOK_S = 0.1


class Crew:
    """``size`` places for worker processes.

    Args:
        environment: their settings.
        folder: for their logs.
        size: how many run side by side.
        crash: crash points for the first process of some places, by the place's number; those that follow are sound.
    """

    def __init__(
        self, environment: dict[str, str], folder: Path, size: int, crash: Mapping[int, str] | None = None
    ) -> None:
        self._environment, self._folder, self._crash = environment, folder, dict(crash or {})
        self.places: list[WorkerProcess] = []
        self.statuses: list[int] = []
        """With what the processes that were replaced have ended."""
        self._size, self._started = size, 0
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._supervise, name="supervisor")

    def __enter__(self) -> Self:
        self.places = [self._new(place) for place in range(self._size)]
        self._thread.start()
        try:
            wait_for(lambda: len(living(self._environment)) >= self._size - len(self._crash), "workers", 60)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        for worker in self.places:
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGCONT)
                worker.process.send_signal(signal.SIGTERM)
        for worker in self.places:
            worker.__exit__(None, None, None)

    @property
    def log(self) -> str:
        """What all of them have said."""
        return "".join(file.read_text(errors="replace") for file in sorted(self._folder.glob("worker-*.log")))

    @property
    def log_of(self) -> dict[int, Path]:
        """Log files by process id."""
        return {worker.process.pid: worker.log for worker in self.places}

    def several_up(self) -> list[int]:
        """The places whose processes show themselves; none unless there are two at least."""
        shown = {presence.pid for presence in living(self._environment)}
        with self._lock:
            up = [
                n
                for n, worker in enumerate(self.places)
                if worker.process.poll() is None and worker.process.pid in shown
            ]
        return up if len(up) > 1 else []

    def kill(self, place: int) -> int:
        """SIGKILL, as a crash; the supervisor replaces the process. Returns its process id."""

        def killed() -> int:
            with self._lock:
                process = self.places[place].process
                if process.poll() is not None:  # it was killed just before, and is not replaced yet
                    return 0
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
            return process.pid

        return wait_for(killed, "worker to kill", 10)

    def send(self, place: int, number: signal.Signals) -> int:
        """A signal to one process; returns its process id."""
        with self._lock:
            self.places[place].process.send_signal(number)
        return self.places[place].process.pid

    def terminate(self, place: int, patience_s: float) -> float:
        """SIGTERM, and how many seconds the process took to end; the supervisor replaces it."""
        with self._lock:
            worker = self.places[place]
        begun = time.monotonic()
        worker.process.terminate()
        wait_for(lambda: worker.process.poll() is not None, f"end of a worker: {worker.log.read_text()}", patience_s)
        return time.monotonic() - begun

    def _supervise(self) -> None:
        while not self._stop.wait(LOOK_S):
            with self._lock:
                for place, worker in enumerate(self.places):
                    status = worker.process.poll()
                    if status is not None:
                        worker.__exit__(None, None, None)
                        self.statuses.append(status)
                        self.places[place] = self._new(None)

    def _new(self, place: int | None) -> WorkerProcess:
        """A process that is not waited for; with a crash point if its place asks for one, and none later."""
        self._started += 1
        point = self._crash.get(place) if place is not None else None
        environment = self._environment | ({"CHAOS_CRASH": point} if point else {})
        log = self._folder / f"worker-{self._started:02}.log"
        return WorkerProcess(environment, log, ready=False, app=APP).__enter__()
