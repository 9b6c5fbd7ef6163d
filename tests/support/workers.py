"""Real worker processes, started as a user would start them and watched through the presence board."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from config.presence import Presence, PresenceBoard
from config.redis_link import connect_redis
from config.settings import PREFIX
from tests.support.waiting import wait_for

ROOT = Path(__file__).parents[2]


def clean_environment(settings: dict[str, str]) -> dict[str, str]:
    """This process' environment with exactly the given ``TICKETFLOW_*`` settings."""
    return {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)} | settings


class WorkerProcess:
    """One worker process; left with the block, it is stopped, and killed if it does not stop.

    Args:
        environment: its settings.
        log: file for what it prints.
        pool: Celery's pool: threads, or processes (its other name for prefork).
        level: of its log.
        app: the module of its Celery application.
        ready: wait until it shows itself; who starts many waits for all of them at the end.
    """

    def __init__(
        self,
        environment: dict[str, str],
        log: Path,
        pool: str = "threads",
        *,
        ready: bool = True,
        level: str = "INFO",
        app: str = "worker.app",
    ) -> None:
        self._environment, self.log, self._pool, self._wait, self._level = environment, log, pool, ready, level
        self._app = app

    def __enter__(self) -> Self:
        command = [
            sys.executable,
            "-W",
            "error::DeprecationWarning:worker",
            "-m",
            "celery",
            "-A",
            self._app,
            "worker",
        ]
        command += [
            "-P",
            self._pool,
            "-Q",
            "interactive,bulk",
            "--without-gossip",
            "--without-mingle",
            "-l",
            self._level,
        ]
        if self._pool == "processes":
            command += ["-c", "2"]
        self._output = self.log.open("ab")
        self.process = subprocess.Popen(
            [*command, "-n", f"w{os.urandom(4).hex()}@%h"],
            env=clean_environment(self._environment),
            cwd=ROOT,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            if self._wait:
                wait_for(self._ready, f"worker: {self.log.read_text()}", 30)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self._output.close()

    def _ready(self) -> bool:
        assert self.process.poll() is None, f"the worker ended: {self.log.read_text()}"
        return any(self.process.pid == p.pid or self._pool == "processes" for p in living(self._environment))

    def kill(self) -> None:
        """What a crash does: no signal handler, no clean-up."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def living(environment: dict[str, str]) -> list[Presence]:
    """The worker processes that show themselves."""
    url = environment["TICKETFLOW_REDIS_URL"]
    client = connect_redis(url)
    try:
        return PresenceBoard(client, url).living()
    finally:
        client.close()
