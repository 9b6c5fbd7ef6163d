"""What the queue adds to one call on an idle system, and on which side of the call."""

import time
from statistics import median, quantiles

from bench.ours import workers
from bench.place import PROVIDER_ID, Place
from bench.prompts import prompt
from producer import Producer


def added_latency(place: Place, jobs: int) -> dict[str, float]:
    """From before ``enqueue`` until ``JobHandle.result`` returns, less the time that the provider takes.

    Args:
        place: where.
        jobs: how many, one after another.
    """
    with place.fresh(), workers(place), Producer(place.settings()) as producer:
        _one(place, producer, 0)
        times = [_one(place, producer, number) for number in range(jobs)]
    added, before, after = zip(*times, strict=True)
    return {
        "added_latency_p50_ms": median(added),
        "added_latency_p99_ms": quantiles(added, n=100)[98],
        "latency_until_call_p50_ms": median(before),
        "latency_after_answer_p50_ms": median(after),
    }


def _one(place: Place, producer: Producer, number: int) -> tuple[float, float, float]:
    """One job: milliseconds added in all, until its call was made, and after it was answered."""
    began = time.monotonic()
    producer.enqueue("complete", {"prompt": prompt(number)}, provider=PROVIDER_ID).result(60)
    ended = time.monotonic()
    counts = place.llm.counts()
    added = ended - began - place.llm.delay_s
    return added * 1000, (counts.last_request_at - began) * 1000, (ended - counts.last_answer_at) * 1000
