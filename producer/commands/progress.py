"""Watching a batch: a live bar on a terminal, a plain line every few seconds elsewhere; always on standard error."""

import sys
import time
from collections.abc import Callable

from jobs.views import Batch
from producer.commands.output import note

POLL_S = 0.2
PLAIN_EVERY_S = 5.0


def watch(status: Callable[[], Batch]) -> Batch:
    """Shows a batch until it is done and returns it."""
    return _watch_bar(status) if sys.stderr.isatty() else _watch_plain(status)


def _done(batch: Batch) -> int:
    return batch.succeeded + batch.failed + batch.cancelled


def _watch_plain(status: Callable[[], Batch]) -> Batch:
    started = said = time.monotonic()
    while not (batch := status()).done:
        if time.monotonic() - said >= PLAIN_EVERY_S:
            said = time.monotonic()
            _say(batch, said - started)
        time.sleep(POLL_S)
    _say(batch, time.monotonic() - started)
    return batch


def _say(batch: Batch, elapsed_s: float) -> None:
    note(f"{_done(batch)}/{batch.total} done, {batch.failed} failed, {_rate(batch, elapsed_s):.1f} jobs/s")


def _rate(batch: Batch, elapsed_s: float) -> float:
    return _done(batch) / max(elapsed_s, 1e-3)


def _watch_bar(status: Callable[[], Batch]) -> Batch:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        TextColumn("{task.fields[rate]:.1f} jobs/s"),
        TimeRemainingColumn(),
    )
    batch, started = status(), time.monotonic()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("batch", total=batch.total, failed=0, rate=0.0)
        while True:
            rate = _rate(batch, time.monotonic() - started)
            progress.update(task, completed=_done(batch), failed=batch.failed, rate=rate)
            if batch.done:
                return batch
            time.sleep(POLL_S)
            batch = status()
