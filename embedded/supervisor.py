"""Starts again what ends, sooner at first and later if it keeps ending."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from config.errors import ServiceUnavailableError
from embedded.process import ChildProcess

LOOK_S = 0.1
FIRST_DELAY_S = 0.5
LAST_DELAY_S = 30.0
HEALTHY_S = 60.0


def restart_delay_s(former_delay_s: float, alive_s: float) -> float:
    """Seconds to wait before the next start: 0.5, doubled each time up to 30; back to 0.5 after a minute alive."""
    if former_delay_s == 0 or alive_s >= HEALTHY_S:
        return FIRST_DELAY_S
    return min(2 * former_delay_s, LAST_DELAY_S)


@dataclass
class _Watched:
    name: str
    process: ChildProcess
    start: Callable[[], ChildProcess]
    delay_s: float = 0.0
    due_at: float | None = None  # None: it runs, as far as we know


class Supervisor:
    """Watches processes and starts those again that end.

    Args:
        on_event: gets one line for each end and each new start.
        clock: monotonic seconds.
    """

    def __init__(self, on_event: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._on_event, self._clock = on_event, clock
        self._watched: list[_Watched] = []

    def watch(self, name: str, process: ChildProcess, start: Callable[[], ChildProcess]) -> None:
        """Takes a running process into care; ``start`` makes its successor and does not wait for it to be ready."""
        self._watched.append(_Watched(name, process, start))

    @property
    def processes(self) -> list[tuple[str, ChildProcess]]:
        """Names and current processes, which may have ended."""
        return [(watched.name, watched.process) for watched in self._watched]

    def run(self, stop: threading.Event) -> None:
        """Goes on until ``stop`` is set."""
        while not stop.wait(LOOK_S):
            self.look()

    def look(self) -> None:
        """One round: notes who ended, starts who is due."""
        for watched in self._watched:
            if watched.due_at is None:
                self._look_at(watched)
            elif self._clock() >= watched.due_at:
                self._start(watched)

    def _look_at(self, watched: _Watched) -> None:
        process = watched.process
        status = process.status()
        if status is None:
            return
        self._delay(watched, self._clock() - process.started_at)
        self._on_event(
            f"{watched.name} (pid {process.pid}) ended with status {status}; "
            f"starting again in {watched.delay_s:g} s; log: {process.log}"
        )

    def _start(self, watched: _Watched) -> None:
        try:
            watched.process = watched.start()
        except (ServiceUnavailableError, OSError) as error:
            self._delay(watched, 0)
            self._on_event(f"{watched.name} cannot be started again: {error}; next try in {watched.delay_s:g} s")
            return
        watched.due_at = None
        self._on_event(f"{watched.name} (pid {watched.process.pid}) started again")

    def _delay(self, watched: _Watched, alive_s: float) -> None:
        watched.delay_s = restart_delay_s(watched.delay_s, alive_s)
        watched.due_at = self._clock() + watched.delay_s
