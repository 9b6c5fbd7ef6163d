"""The memory of one worker process with 500 calls in flight, and whether it grows with the jobs done."""

from statistics import median

from bench.llm_server import Counts
from bench.ours import submit, workers
from bench.place import Place
from bench.proc import MB, pss_bytes
from bench.running import TIMEOUT_S, all_running
from producer import Producer

IN_FLIGHT = {"TICKETFLOW_CALLS_IN_FLIGHT": "556"}
"""Of which batches leave a tenth to single jobs: 501 are in flight."""


def worker_memory(place: Place, jobs: int) -> dict[str, float]:
    """Memory during one batch; growth from its second tenth to its last.

    Args:
        place: where.
        jobs: size of the batch.
    """
    looks: list[tuple[int, int]] = []
    with place.fresh(), workers(place, 1, IN_FLIGHT) as processes, Producer(place.settings()) as producer:
        pid = processes[0].pid

        def look(counts: Counts) -> None:
            looks.append((counts.answered, pss_bytes(pid)))

        place.llm.reset()
        handle = submit(producer, jobs)
        place.llm.wait_answered(jobs, TIMEOUT_S, all_running(processes), look)
        handle.wait(TIMEOUT_S)
        in_flight = place.llm.counts().most_in_flight
    early = [size for answered, size in looks if 0.1 * jobs <= answered < 0.2 * jobs]
    late = [size for answered, size in looks if answered >= 0.9 * jobs]
    return {
        "worker_calls_in_flight": in_flight,
        "worker_pss_mb": max(size for _, size in looks) / MB,
        "worker_growth_percent": (median(late) / median(early) - 1) * 100,
    }
