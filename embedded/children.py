"""Starting and ending child processes as a group, such that none is lost to a Ctrl-C, an error or a dying thread."""

import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from config.errors import StartFailedError
from embedded.process import ChildProcess, Command

CLOSE_S = 1.0


class ChildProcesses:
    """All programs of one owner; once closed, every one has ended and none can be started any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._children: list[ChildProcess] = []
        self._closed = False

    def spawn(self, command: Command) -> ChildProcess:
        """Starts a program and keeps it, whatever happens to the caller meanwhile.

        Raises:
            StartFailedError: all are being ended.
        """
        return _SPAWN_THREAD.run(lambda: self._spawn(command))

    def refuse(self) -> None:
        """Lets nothing be started any more; what is being started now is, and is known."""
        with self._lock:
            self._closed = True

    def close(self) -> None:
        """Ends all that still run, within a second; for an orderly end signal them before."""
        self.refuse()
        for child in self._children:
            child.terminate_group()
        deadline = time.monotonic() + CLOSE_S
        for child in self._children:
            child.wait(deadline)
            child.kill()

    def _spawn(self, command: Command) -> ChildProcess:
        with self._lock:
            if self._closed:
                raise StartFailedError(Path(command.argv[0]).name, str(command.log), "it is being stopped")
            child = ChildProcess(command)
            self._children = [c for c in self._children if c.status() is None] + [child]
            return child


class _SpawnThread:
    """Starts programs from one thread that lives as long as this process.

    Linux sends the parent-death signal when the *thread* that started the child ends, and a caller's thread may end any
    time. Nor does a Ctrl-C cut short what runs here: Python raises it in the main thread.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[ChildProcess], Callable[[], ChildProcess]]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._pid: int | None = None

    def run(self, call: Callable[[], ChildProcess]) -> ChildProcess:
        """Returns what ``call`` returns, or raises what it raises."""
        with self._lock:
            if self._pid != os.getpid():  # not started yet, or lost in a fork
                threading.Thread(target=self._work, name="embedded-spawn", daemon=True).start()
                self._pid = os.getpid()
        future: Future[ChildProcess] = Future()
        self._calls.put((future, call))
        return future.result()

    def _work(self) -> None:
        while True:
            future, call = self._calls.get()
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)


_SPAWN_THREAD = _SpawnThread()
