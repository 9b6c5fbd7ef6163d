"""Everything that a measurement gave, as it is kept in ``results.json``."""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

LIBRARIES = ("celery", "dramatiq", "taskiq", "taskiq-redis", "openai", "aiohttp", "redis", "psycopg")


@dataclass
class Results:
    """What was measured, where and when.

    Args:
        machine: what it was measured on; no name of it.
        versions: of the libraries that were measured.
        date: when, UTC.
        rounds: how often each row was run.
        delay_s: how long the provider took for an answer.
        rows: throughput; medians.
        more: other figures by name.
        levels: throughput and memory by calls in flight, for the plot.
    """

    machine: dict[str, Any]
    versions: dict[str, str]
    date: str
    rounds: int
    delay_s: float
    rows: list[dict[str, Any]] = field(default_factory=list)
    more: dict[str, float] = field(default_factory=dict)
    levels: list[dict[str, Any]] = field(default_factory=list)

    def of_row(self, name: str, figure: str = "jobs_per_s") -> float | None:
        """A figure of a row; None if it was not measured."""
        return next((row[figure] for row in self.rows if row["name"] == name), None)

    def write(self, path: Path, targets: list[dict[str, Any]]) -> None:
        """Writes all of it as JSON."""
        text = json.dumps({**asdict(self), "targets": targets}, indent=1, ensure_ascii=False)
        path.write_text(f"{text}\n", encoding="utf-8")


def begin(rounds: int, delay_s: float) -> Results:
    """Results without figures yet."""
    now = datetime.now(UTC).isoformat(timespec="minutes")
    return Results(machine(), {name: version(name) for name in LIBRARIES}, now, rounds, delay_s)


def machine() -> dict[str, Any]:
    """What the measurement runs on."""
    info = _fields(Path("/proc/cpuinfo"))
    return {
        "cpu": info.get("model name", platform.machine()),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(_fields(Path("/proc/meminfo"))["MemTotal"].split()[0]) / 1024 / 1024, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _fields(path: Path) -> Mapping[str, str]:
    lines = (line.partition(":") for line in path.read_text().splitlines())
    return {name.strip(): value.strip() for name, _, value in reversed(list(lines))}
