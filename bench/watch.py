"""Follows the processes of one run from outside: highest memory, CPU time, and the server's count over time."""

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from bench.llm_server import Counts
from bench.proc import MB, cpu_s, family, pss_bytes
from bench.running import RunFailedError
from bench.sample import Sample, steady_rate

PAUSE_S = 0.5


class Watch:
    """``with Watch(pids) as watch`` around the measured part; what the processes did before does not count.

    Args:
        roots: processes; what they have started belongs to them.
        pause_s: between two looks at their memory, which cost them some milliseconds.
    """

    def __init__(self, roots: Sequence[int], pause_s: float = PAUSE_S) -> None:
        self._pause_s = pause_s
        self._pids = family(roots)
        self.highest_bytes: dict[int, int] = dict.fromkeys(self._pids, 0)
        self.total_bytes = 0
        self.timeline: list[tuple[float, int]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_often, name="watch")

    def __enter__(self) -> Self:
        self._cpu_before_s = self._cpu_s()
        self.began_at = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        self._look()
        self.cpu_s = self._cpu_s() - self._cpu_before_s

    def tick(self, counts: Counts) -> None:
        """Notes how far the run has come."""
        self.timeline.append((time.monotonic(), counts.answered))

    def sample(self, jobs: int, ended_at: float, calls_in_flight: int) -> Sample:
        """The figures of the run, once the block is left, if all processes have lived through it.

        Args:
            jobs: how many were done.
            ended_at: when the last was, by ``time.monotonic()``.
            calls_in_flight: the most that were.

        Raises:
            RunFailedError: one has ended meanwhile, so that its CPU time is not known.
        """
        if gone := self._pids - family(self._pids):
            raise RunFailedError(f"{len(gone)} of {len(self._pids)} measured processes ended early")
        return Sample(
            jobs,
            jobs / (ended_at - self.began_at),
            steady_rate(self.timeline, jobs),
            self.cpu_s * 1000 / jobs,
            max(self.highest_bytes.values()) / MB,
            self.total_bytes / MB,
            len(self._pids),
            calls_in_flight,
        )

    def _cpu_s(self) -> float:
        return sum(map(cpu_s, self._pids))

    def _look_often(self) -> None:
        while not self._stop.wait(self._pause_s):
            self._look()

    def _look(self) -> None:
        sizes = {pid: pss_bytes(pid) for pid in self._pids}
        self.total_bytes = max(self.total_bytes, sum(sizes.values()))
        for pid, size in sizes.items():
            self.highest_bytes[pid] = max(self.highest_bytes[pid], size)
