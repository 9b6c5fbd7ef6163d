"""The provider as a process, and a look at its counts."""

import http.client
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.llm_server import Counts
from bench.running import RunFailedError
from embedded.children import ChildProcesses
from embedded.local_server import HOST, free_ports
from embedded.process import Command
from embedded.programs import ROOT, inherited_environment

START_S = 10.0
POLL_S = 0.005


class LLMServer:
    """``with LLMServer(folder, delay_s) as server``: answers each call after ``delay_s`` seconds.

    Args:
        folder: for its log.
        delay_s: how long an answer takes.
    """

    def __init__(self, folder: Path, delay_s: float) -> None:
        self.delay_s = delay_s
        self._children, self._log = ChildProcesses(), folder / "llm-server.log"

    def __enter__(self) -> Self:
        (self.port,) = free_ports(1)
        argv = (sys.executable, "-m", "bench.llm_server", str(self.port), str(self.delay_s))
        process = self._children.spawn(Command(argv, inherited_environment(()), ROOT, self._log))
        self.pid = process.pid
        deadline = time.monotonic() + START_S
        while not self._answers():
            if process.status() is not None or time.monotonic() > deadline:
                self._children.close()
                raise process.failure("the bench's provider", "it does not answer")
            time.sleep(POLL_S)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._children.close()

    @property
    def url(self) -> str:
        """Base URL, as OpenAI's clients want it."""
        return f"http://{HOST}:{self.port}/v1"

    def counts(self) -> Counts:
        """What it has seen since the last reset."""
        return self._ask("GET", "/counts")

    def reset(self) -> None:
        """Forgets what it has seen."""
        self._ask("POST", "/reset")

    def wait_answered(
        self, jobs: int, timeout_s: float, is_alive: Callable[[], bool], tick: Callable[[Counts], None] = lambda _: None
    ) -> Counts:
        """Waits until so many calls are answered.

        Args:
            jobs: how many.
            timeout_s: the deadline.
            is_alive: whether those who call still run.
            tick: gets the counts at each look.

        Raises:
            RunFailedError: who should call has ended, or takes too long.
        """
        deadline, pause_s = time.monotonic() + timeout_s, 0.1
        while (counts := self.counts()).answered < jobs:
            tick(counts)
            if not is_alive() or time.monotonic() > deadline:
                raise RunFailedError(f"{counts.answered} of {jobs} calls were made")
            time.sleep(pause_s)
        tick(counts)
        return counts

    def _answers(self) -> bool:
        try:
            self.counts()
        except OSError:
            return False
        return True

    def _ask(self, method: str, path: str) -> Counts:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=START_S)
        try:
            connection.request(method, path)
            return Counts(**json.loads(connection.getresponse().read()))
        finally:
            connection.close()
