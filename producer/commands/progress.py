"""Watching a batch: a live bar on a terminal, a plain line every few seconds elsewhere; always on standard error."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from jobs.views import Batch
from producer.commands.output import duration, note
from producer.handles import going_on

POLL_S = 0.2
PLAIN_EVERY_S = 5.0
RATE_OVER_S = 30.0


@dataclass(frozen=True)
class Reading:
    """A batch at a moment; ``at_s`` by a monotonic clock."""

    at_s: float
    batch: Batch

    @property
    def done(self) -> int:
        """Jobs that have ended."""
        return self.batch.succeeded + self.batch.failed + self.batch.cancelled

    @property
    def tokens(self) -> int:
        """Tokens so far, in and out."""
        return self.batch.input_tokens + self.batch.output_tokens


@dataclass(frozen=True)
class Figures:
    """What is shown of a batch under way; None where it cannot be said."""

    jobs_per_s: float
    tokens_per_s: float
    left_s: float | None
    cost_usd: float | None
    projected_usd: float | None


def figures(first: Reading, last: Reading) -> Figures:
    """Rates between two readings, and where they lead.

    Args:
        first: some while ago.
        last: now.
    """
    span_s = max(last.at_s - first.at_s, 1e-3)
    jobs_per_s = (last.done - first.done) / span_s
    left = last.batch.total - last.done
    cost = last.batch.cost_usd
    projected = cost / last.done * last.batch.total if cost is not None and last.done else None
    return Figures(
        jobs_per_s,
        (last.tokens - first.tokens) / span_s,
        left / jobs_per_s if jobs_per_s > 0 else None,
        cost,
        projected,
    )


class Watch:
    """Readings of one batch and what they say; rates are over the last half minute.

    Args:
        status: reads the batch.
    """

    def __init__(self, status: Callable[[], Batch]) -> None:
        self._status = status
        self._readings: list[Reading] = []

    def read(self) -> Reading:
        """The batch as it is now."""
        reading = Reading(time.monotonic(), self._status())
        while len(self._readings) > 1 and reading.at_s - self._readings[0].at_s > RATE_OVER_S:
            del self._readings[0]
        self._readings.append(reading)
        return reading

    def words(self) -> str:
        """The last reading in a line."""
        last = self._readings[-1]
        now = figures(self._readings[0], last)
        parts = [f"{last.done}/{last.batch.total} done", f"{last.batch.failed} failed", f"{now.jobs_per_s:.1f} jobs/s"]
        parts += [f"{now.tokens_per_s:,.0f} tokens/s"] if now.tokens_per_s >= 1 else []
        parts += [f"{last.batch.reused} reused"] if last.batch.reused else []
        parts += [f"{last.batch.running} in hand"] if last.batch.running else []
        if now.cost_usd is not None:
            projected = f" of about {now.projected_usd:.2f}" if now.projected_usd and not last.batch.done else ""
            cap = f" (at most {last.batch.max_cost_usd:.2f})" if last.batch.max_cost_usd else ""
            parts.append(f"{now.cost_usd:.2f} USD{projected}{cap}")
        parts += [f"{duration(now.left_s)} left"] if now.left_s and not last.batch.done else []
        return ", ".join([*parts, *(["paused"] if last.batch.state == "paused" else [])])


def watch(status: Callable[[], Batch]) -> Batch:
    """Shows a batch until it is done and returns it.

    Raises:
        BatchPausedError: it waits for somebody's word, such as a higher cap.
    """
    watching = Watch(status)
    return _watch_bar(watching) if sys.stderr.isatty() else _watch_plain(watching)


def _watch_plain(watching: Watch) -> Batch:
    said = time.monotonic()
    while not (reading := watching.read()).batch.done:
        if reading.at_s - said >= PLAIN_EVERY_S:
            said = reading.at_s
            note(watching.words())
        going_on(reading.batch)
        time.sleep(POLL_S)
    note(watching.words())
    return reading.batch


def _watch_bar(watching: Watch) -> Batch:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (BarColumn(bar_width=None), TextColumn("{task.description}"))
    reading = watching.read()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=reading.batch.total)
        while True:
            progress.update(task, completed=reading.done, description=watching.words())
            if reading.batch.done:
                return reading.batch
            going_on(reading.batch)
            time.sleep(POLL_S)
            reading = watching.read()
