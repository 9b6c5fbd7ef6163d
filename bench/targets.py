"""The targets, as data: what is wanted of which figure, and whether it is met. A missed one fails nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import geometric_mean
from typing import Any

from bench.results import Results

Figure = Callable[[Results], float | None]

PEERS = ("celery-prefork-16", "celery-threads-200", "celery-threads-2x200", "dramatiq", "taskiq")


CPU_MS = {"bare-aiohttp": 0.17, "bare-sdk-aiohttp": 1.1, "bare-sdk-default": 3.4}
"""CPU time of a call in bare loops, on the machine that the targets were set on: they tell how slow another one is."""


@dataclass(frozen=True)
class Target:
    """One target.

    Args:
        name: what is measured.
        figure: how it is found in the results; None if it was not measured.
        goal: the figure that is wanted.
        at_least: whether more is better.
        unit: of both.
        timed: whether it follows the machine's speed, as ratios and sizes do not.
    """

    name: str
    figure: Figure
    goal: float
    at_least: bool
    unit: str
    timed: bool = False

    def judged(self, results: Results) -> dict[str, Any]:
        """Name, figure, target, and whether it is met (None: not measured), as measured and at the targets' speed."""
        measured, at_speed = self.figure(results), None
        times = slowness(results)
        if self.timed and measured is not None and times is not None:
            at_speed = measured * times if self.at_least else measured / times
        return {
            "name": self.name,
            "measured": measured,
            "at_speed": at_speed,
            "unit": self.unit,
            "target": f"{'≥' if self.at_least else '≤'} {self.goal:g} {self.unit}",
            "met": self._met(measured),
            "met_at_speed": self._met(at_speed),
        }

    def _met(self, value: float | None) -> bool | None:
        return None if value is None else value >= self.goal if self.at_least else value <= self.goal


def slowness(results: Results) -> float | None:
    """How many times slower the machine is than that of the targets, by the CPU time of calls in bare loops."""
    measured = {name: results.of_row(name, "cpu_ms_per_job") for name in CPU_MS}
    ratios = [cpu_ms / CPU_MS[name] for name, cpu_ms in measured.items() if cpu_ms]
    return geometric_mean(ratios) if ratios else None


def _ratio(name: str, *others: str) -> Figure:
    """A row's jobs a second by those of the best of the others."""

    def figure(results: Results) -> float | None:
        ours, theirs = results.of_row(name), [rate for other in others if (rate := results.of_row(other))]
        return round(ours / max(theirs), 2) if ours and theirs else None

    return figure


def _more(name: str, size: bool = False) -> Figure:
    """One of the other figures; ``size``: without its sign."""

    def figure(results: Results) -> float | None:
        value = results.more.get(name)
        return abs(value) if size and value is not None else value

    return figure


TARGETS = (
    Target("batch, by AsyncOpenAI over aiohttp in a bare loop", _ratio("batch", "bare-sdk-aiohttp"), 1.2, True, "×"),
    Target("batch, by taskiq", _ratio("batch", "taskiq"), 5, True, "×"),
    Target("batch, by Celery prefork", _ratio("batch", "celery-prefork-16"), 40, True, "×"),
    Target("single jobs, by the best peer", _ratio("single", *PEERS), 2.5, True, "×"),
    Target("latency added to one job, p50", _more("added_latency_p50_ms"), 15, False, "ms", timed=True),
    Target("latency added to one job, p99", _more("added_latency_p99_ms"), 50, False, "ms", timed=True),
    Target("worker with 500 calls in flight, PSS", _more("worker_pss_mb"), 160, False, "MB"),
    Target("growth of a worker over 50,000 jobs", _more("worker_growth_percent"), 5, False, "%"),
    Target("intake of 100,000 tickets of 1 kB", _more("intake_rows_per_s"), 20_000, True, "rows/s", timed=True),
    Target("its producer, PSS", _more("intake_producer_pss_mb"), 150, False, "MB"),
    Target("growth of Redis by it", _more("intake_redis_growth_mb"), 10, False, "MB"),
    Target("provider, key and client, warm", _more("resolve_warm_us"), 20, False, "µs", timed=True),
    Target("from producer import Producer", _more("import_producer_s"), 0.25, False, "s", timed=True),
    Target("a job in 100,000 against one in 1,000", _more("job_growth_percent", size=True), 10, False, "%"),
    Target("status of a batch of 100,000", _more("status_ms"), 10, False, "ms", timed=True),
)


def judged(results: Results) -> list[dict[str, Any]]:
    """Every target with what was measured."""
    return [target.judged(results) for target in TARGETS]
