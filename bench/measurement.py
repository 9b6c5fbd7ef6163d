"""The whole measurement: rows in turn, round after round, then what is measured beside them."""

import itertools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from bench.levels import LEVELLED, point
from bench.more.growth import growth
from bench.more.imports import imports
from bench.more.intake import intake
from bench.more.latency import added_latency
from bench.more.memory import worker_memory
from bench.more.resolve import resolve
from bench.place import Place
from bench.plan import Plan
from bench.results import Results, begin
from bench.rows import ROWS
from bench.sample import Sample, summed_up
from bench.server import LLMServer
from config.errors import TicketflowError
from embedded.servers import EmbeddedServers

Found = TypeVar("Found")


def measure(plan: Plan, rows: Sequence[str], folder: Path, *, more: bool) -> Results:
    """Measures; a run that fails is told and left out.

    Args:
        plan: how much.
        rows: names of rows.
        folder: for the servers and logs; an empty one.
        more: also what is not throughput.
    """
    results = begin(plan.rounds, plan.delay_s)
    with EmbeddedServers(folder / "servers", persistent=True) as servers, LLMServer(folder, plan.delay_s) as llm:
        place = Place(servers, llm, folder)
        if more:
            _note(results, _at_rest(place, plan))
        _rows(place, plan, rows, results)
        if more:
            _note(results, _under_load(place, plan))
            for calls, name in itertools.product(plan.levels, LEVELLED):
                found = _tried(f"{name}, {calls} calls", partial(point, place, plan, name, calls))
                results.levels += [found] if found else []
    return results


def _rows(place: Place, plan: Plan, names: Sequence[str], results: Results) -> None:
    samples: dict[str, list[Sample]] = {name: [] for name in names}
    for number in range(1, plan.rounds + 1):
        for name in names:
            row = ROWS[name]
            jobs = row.quick_jobs if plan.quick else row.jobs
            sample = _tried(f"round {number}: {name}, {jobs} jobs", partial(row.runner.run, place, jobs))
            samples[name] += [sample] if sample else []
    results.rows = [summed_up(name, found) for name, found in samples.items() if found]


Figures = Mapping[str, Callable[[], dict[str, float]]]


def _at_rest(place: Place, plan: Plan) -> Figures:
    """What is measured of an idle system comes first: for minutes after a large batch, Postgres writes its pages."""
    return {
        "latency of single jobs": lambda: added_latency(place, plan.latency_jobs),
        "provider, key and client": lambda: resolve(place, plan.resolutions),
        "import of the producer": lambda: imports(plan.imports),
    }


def _under_load(place: Place, plan: Plan) -> Figures:
    return {
        "memory of a worker": lambda: worker_memory(place, plan.memory_jobs),
        "intake of a large file": lambda: intake(place, plan.tickets),
        "small and large batches": lambda: growth(
            place, plan.small_jobs, plan.small_times, plan.large_jobs, plan.rounds
        ),
    }


def _note(results: Results, figures: Figures) -> None:
    for name, figure in figures.items():
        results.more |= _tried(name, figure) or {}


def _tried(what: str, run: Callable[[], Found]) -> Found | None:
    """What a run gives; None if it fails."""
    began = time.monotonic()
    try:
        found = run()
    except TicketflowError as error:
        print(f"{what}: {error}", file=sys.stderr, flush=True)
        return None
    print(f"{what}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return found
