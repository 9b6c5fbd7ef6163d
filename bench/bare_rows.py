"""How a bare loop is run: one process or several, each with its share of the calls."""

import signal
import sys
import time
from dataclasses import dataclass

from bench.place import Place
from bench.proc import is_stopped
from bench.running import TIMEOUT_S, all_running
from bench.sample import Sample
from bench.watch import Watch
from embedded.children import ChildProcesses
from embedded.process import ChildProcess


@dataclass(frozen=True)
class Bare:
    """One kind of loop; see ``bench.bare_loop``.

    Args:
        kind: how it calls.
        processes: how many share the calls.
        in_flight: calls at once in each.
    """

    kind: str
    processes: int
    in_flight: int = 500

    def run(self, place: Place, jobs: int) -> Sample:
        """One run."""
        children, loops = ChildProcesses(), list[ChildProcess]()
        share = jobs // self.processes
        try:
            arguments = (self.kind, place.llm.url, str(share), str(self.in_flight))
            argv = (sys.executable, "-m", "bench.bare_loop", *arguments)
            loops += [place.spawn(children, argv, {}) for _ in range(self.processes)]
            _wait_stopped(loops)
            place.llm.reset()
            with Watch([loop.pid for loop in loops]) as watch:
                for loop in loops:
                    loop.send(signal.SIGCONT)
                counts = place.llm.wait_answered(share * self.processes, TIMEOUT_S, all_running(loops), watch.tick)
                _wait_stopped(loops)
            return watch.sample(share * self.processes, counts.last_answer_at, counts.most_in_flight)
        finally:
            for loop in loops:
                loop.kill()
            children.close()


def _wait_stopped(loops: list[ChildProcess]) -> None:
    """Waits until every loop stands still, as it does before and after its calls."""
    deadline, alive = time.monotonic() + TIMEOUT_S, all_running(loops)
    while not all(is_stopped(loop.pid) for loop in loops):
        if not alive() or time.monotonic() > deadline:
            raise next((loop for loop in loops if loop.status() is not None), loops[0]).failure("bench", "a loop ended")
        time.sleep(0.01)
