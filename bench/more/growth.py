"""Whether a job costs the same in a small batch and in a large one, and what that takes of every process.

The provider answers almost at once here.
"""

import os
import time
from collections.abc import Mapping, Sequence
from statistics import median

from bench.ours import submit, workers
from bench.place import PROVIDER_ID, Place
from bench.proc import MB, family, name_of
from bench.running import TIMEOUT_S, RunFailedError, all_running
from bench.server import LLMServer
from bench.watch import Watch
from embedded.process import ChildProcess
from jobs.views import Batch
from producer import Producer

DELAY_S = 0.02
STATUS_CALLS = 200
PAUSE_S = 2.0
SERVERS = {"postgres": "postgres", "valkey-server": "valkey"}
"""By the names of their processes: Postgres has one for each connection."""


def growth(place: Place, small: int, times: int, large: int, rounds: int) -> dict[str, float]:
    """Time a job by the ledger's clock, from the creation of a batch to its end, and the time of ``status``; medians.

    Args:
        place: where.
        small: jobs of a small batch.
        times: how many small ones, one after another.
        large: jobs of the large one.
        rounds: each of small ones and a large one, in a database of its own.
    """
    found = [_round(place, small, times, large) for _ in range(rounds)]
    return {name: median(figures[name] for figures in found) for name in found[0]}


def _round(place: Place, small: int, times: int, large: int) -> dict[str, float]:
    with LLMServer(place.folder, DELAY_S) as llm, place.fresh(), Producer(place.settings()) as producer:
        producer.providers.change(PROVIDER_ID, {"base_url": llm.url})
        with workers(place) as processes:
            sizes = [place.redis_bytes()]

            def run(jobs: int) -> Batch:
                llm.reset()
                handle = submit(producer, jobs)
                llm.wait_answered(jobs, TIMEOUT_S, all_running(processes), lambda _: sizes.append(place.redis_bytes()))
                return handle.wait(TIMEOUT_S)

            with Watch([os.getpid()], pause_s=PAUSE_S):  # which costs small ones as much as the large one
                small_s = sum(_seconds(run(small)) for _ in range(times)) / times
            del sizes[1:]
            with Watch([os.getpid()], pause_s=PAUSE_S) as watch:
                names = {pid: name_of(pid) for pid in family([os.getpid()])}
                done = run(large)
            status_ms = median(_status_ms(producer, done.batch_id) for _ in range(STATUS_CALLS))
        large_s = _seconds(done)
    small_us, large_us = small_s * 1e6 / small, large_s * 1e6 / large
    return {
        "job_of_small_batch_us": small_us,
        "job_of_large_batch_us": large_us,
        "job_growth_percent": (large_us / small_us - 1) * 100,
        "batch_redis_growth_mb": (max(sizes) - sizes[0]) / MB,
        "status_ms": status_ms,
    } | _memory(watch.highest_bytes, names, processes)


def _memory(
    highest_bytes: Mapping[int, int], names: Mapping[int, str], workers: Sequence[ChildProcess]
) -> dict[str, float]:
    """The most memory that each process had during the large batch; the provider's and what measures are left out."""
    found = {
        f"large_batch_worker_{number}_pss_mb": highest_bytes.get(worker.pid, 0)
        for number, worker in enumerate(workers, 1)
    }
    found["large_batch_producer_pss_mb"] = highest_bytes.get(os.getpid(), 0)
    for name, server in SERVERS.items():
        found[f"large_batch_{server}_pss_mb"] = sum(n for pid, n in highest_bytes.items() if names.get(pid) == name)
    return {name: size / MB for name, size in found.items()}


def _seconds(done: Batch) -> float:
    if done.finished_at is None:
        raise RunFailedError("a batch that is done has no end")
    return (done.finished_at - done.created_at).total_seconds()


def _status_ms(producer: Producer, batch_id: str) -> float:
    began = time.perf_counter()
    producer.ledger.batch(batch_id)
    return (time.perf_counter() - began) * 1000
