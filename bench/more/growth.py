"""Whether a job costs the same in a small batch and in a large one; the provider answers almost at once here."""

import time
from datetime import datetime
from statistics import median

from bench.llm_server import Counts
from bench.ours import submit, workers
from bench.place import PROVIDER_ID, Place
from bench.proc import MB
from bench.running import TIMEOUT_S, RunFailedError, all_running
from bench.server import LLMServer
from producer import Producer

DELAY_S = 0.02
STATUS_CALLS = 200


def growth(place: Place, small: int, times: int, large: int) -> dict[str, float]:
    """Time a job by the ledger's clock, from the creation of a batch to its end, and the time of ``status``.

    Args:
        place: where.
        small: jobs of a small batch.
        times: how many small ones, one after another.
        large: jobs of the large one.
    """
    with LLMServer(place.folder, DELAY_S) as llm, place.fresh(), Producer(place.settings()) as producer:
        producer.providers.change(PROVIDER_ID, {"base_url": llm.url})
        with workers(place) as processes:
            small_s = sum(_seconds(producer, small) for _ in range(times)) / times
            llm.reset()
            sizes = [place.redis_bytes()]

            def look(_: Counts) -> None:
                sizes.append(place.redis_bytes())

            handle = submit(producer, large)
            llm.wait_answered(large, TIMEOUT_S, all_running(processes), look)
            done = handle.wait(TIMEOUT_S)
            status_ms = median(_status_ms(producer, handle.batch_id) for _ in range(STATUS_CALLS))
        large_s = _between(done.created_at, done.finished_at)
    small_us, large_us = small_s * 1e6 / small, large_s * 1e6 / large
    return {
        "job_of_small_batch_us": small_us,
        "job_of_large_batch_us": large_us,
        "job_growth_percent": (large_us / small_us - 1) * 100,
        "batch_redis_growth_mb": (max(sizes) - sizes[0]) / MB,
        "status_ms": status_ms,
    }


def _seconds(producer: Producer, jobs: int) -> float:
    done = submit(producer, jobs).wait(TIMEOUT_S)
    return _between(done.created_at, done.finished_at)


def _between(begin: datetime, end: datetime | None) -> float:
    if end is None:
        raise RunFailedError("a batch that is done has no end")
    return (end - begin).total_seconds()


def _status_ms(producer: Producer, batch_id: str) -> float:
    began = time.perf_counter()
    producer.ledger.batch(batch_id)
    return (time.perf_counter() - began) * 1000
