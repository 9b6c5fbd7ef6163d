"""The results in words: tables for the terminal and the page ``docs/performance.md``."""

from collections.abc import Sequence
from typing import Any

from bench.results import Results
from bench.rows import ROWS
from bench.targets import slowness
from embedded.programs import ROOT

PLOT = "performance.png"
_PAGE = ROOT / "bench" / "performance.md"


def throughput(results: Results) -> str:
    """Rows with their medians, and each rate by that of the first."""
    head = ("row", "what", "jobs/s", "by batch", "steady", "CPU ms/job", "PSS MB/process", "calls in flight")
    first = results.of_row("batch")
    rows = [
        (
            row["name"],
            ROWS[row["name"]].what,
            f"{row['jobs_per_s']:,.0f}",
            f"{row['jobs_per_s'] / first:.2f}" if first else "",
            f"{row['steady_jobs_per_s']:,.0f}",
            f"{row['cpu_ms_per_job']:.2f}",
            f"{row['pss_mb_per_process']:.0f}",
            f"{row['calls_in_flight']:,.0f}",
        )
        for row in results.rows
    ]
    return table(head, rows)


def more(results: Results) -> str:
    """The other figures."""
    return table(("figure", "value"), [(name, f"{value:,.4g}") for name, value in results.more.items()])


def targets(judged: Sequence[dict[str, Any]]) -> str:
    """Name, figure as measured and at the targets' speed, target, met or not."""
    words = {True: "yes", False: "no", None: "not measured"}
    rows = [
        (
            t["name"],
            _figure(t["measured"], t["unit"]),
            _figure(t["at_speed"], t["unit"]),
            t["target"],
            "at the targets' speed" if t["met"] is False and t["met_at_speed"] else words[t["met"]],
        )
        for t in judged
    ]
    return table(("target", "measured", "at the targets' speed", "wanted", "met"), rows)


def page(results: Results, judged: Sequence[dict[str, Any]]) -> str:
    """The whole page."""
    machine = results.machine
    return _PAGE.read_text(encoding="utf-8").format(
        date=results.date[:10],
        machine=f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, Linux {machine['kernel']}, "
        f"Python {machine['python']}",
        versions=", ".join(f"{name} {number}" for name, number in results.versions.items()),
        rounds=results.rounds,
        delay_s=f"{results.delay_s:g}",
        plot=PLOT,
        throughput=throughput(results),
        more=more(results),
        targets=targets(judged),
        slowness=_times(slowness(results)),
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, also fit to be read as it is."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(text)


def _times(slowness: float | None) -> str:
    return "not measured" if slowness is None else f"{slowness:.2f}"


def _figure(measured: float | None, unit: str) -> str:
    return "" if measured is None else f"{measured:,.4g} {unit}"
