"""How a peer is run: its workers, warmed up, meet all messages at one moment."""

import sys
from dataclasses import dataclass

from bench.place import STAGING, Place
from bench.running import TIMEOUT_S, all_running, wait_done
from bench.sample import Sample
from bench.watch import Watch
from embedded.children import ChildProcesses


@dataclass(frozen=True)
class Peer:
    """One peer.

    Args:
        library: the name by which ``bench.peers.enqueue`` knows it.
        workers: the command of its workers, after ``python -m``.
        keys: where it keeps messages in Redis, the one that workers wait for last.
        warm_up: jobs before the measurement, enough for every process to have had some.
        copies: how often the command is started.
    """

    library: str
    workers: tuple[str, ...]
    keys: tuple[str, ...]
    warm_up: int
    copies: int = 1

    def run(self, place: Place, jobs: int) -> Sample:
        """One run; its workers are gone when it returns."""
        children = ChildProcesses()
        place.redis.flushall()
        place.llm.reset()
        try:
            argv = (sys.executable, "-m", *self.workers)
            workers = [place.spawn(children, argv, self._environment(place, 0)) for _ in range(self.copies)]
            alive = all_running(workers)
            warm_up = min(self.warm_up, jobs)
            self._enqueue(place, children, 0, warm_up)
            place.llm.wait_answered(warm_up, TIMEOUT_S, alive)
            self._enqueue(place, children, STAGING, jobs)
            place.llm.reset()
            with Watch([worker.pid for worker in workers]) as watch:
                place.release(*self.keys)
                counts = place.llm.wait_answered(jobs, TIMEOUT_S, alive, watch.tick)
            return watch.sample(jobs, counts.last_answer_at, counts.most_in_flight)
        finally:
            children.close()

    def _enqueue(self, place: Place, children: ChildProcesses, database: int, jobs: int) -> None:
        argv = (sys.executable, "-m", "bench.peers.enqueue", self.library, str(jobs))
        wait_done(place.spawn(children, argv, self._environment(place, database)))

    @staticmethod
    def _environment(place: Place, database: int) -> dict[str, str]:
        return {
            "BENCH_REDIS_URL": place.redis_url(database),
            "OPENAI_BASE_URL": place.llm.url,
            "OPENAI_API_KEY": "sk-bench",
        }
