"""Throughput and memory by calls in flight: the points of the plot."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from bench.bare_rows import Bare
from bench.ours import Batch
from bench.place import Place
from bench.plan import Plan
from bench.rows import Runner, celery, taskiq

LEVELLED: dict[str, tuple[float, Callable[[int], Runner]]] = {
    "batch": (1_600, lambda calls: _batch(calls)),
    "bare-sdk-aiohttp": (1_200, lambda calls: Bare("sdk-aiohttp", 2, calls // 2)),
    "bare-sdk-default": (600, lambda calls: Bare("sdk-default", 2, calls // 2)),
    "taskiq": (400, lambda calls: taskiq(calls // 2)),
    "celery-threads": (400, lambda calls: celery("threads", calls // 2, copies=2)),
}
"""By name: about how many jobs a second it can do at best, which bounds the length of a run; and how it is run with so
many calls at once, in two processes."""


def _batch(calls: int) -> Batch:
    """Slices small enough for both processes to have some, whatever the number of calls."""
    slice_jobs = max(calls // 4, 1)
    return Batch({"TICKETFLOW_CALLS_IN_FLIGHT": str(calls // 2), "TICKETFLOW_SLICE_JOBS": str(slice_jobs)})


def point(place: Place, plan: Plan, name: str, calls: int) -> dict[str, Any]:
    """One point of the plot.

    Args:
        place: where.
        plan: how long a point takes.
        name: one of ``LEVELLED``.
        calls: in flight.
    """
    best_per_s, runner = LEVELLED[name]
    jobs = int(min(calls / plan.delay_s, best_per_s) * plan.level_s)
    return {"name": name, "level": calls, **asdict(runner(calls).run(place, max(jobs, calls)))}
