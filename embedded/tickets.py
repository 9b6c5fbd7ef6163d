"""Two hundred invented support tickets, for the demo, tests and benchmarks."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def sample_tickets_path() -> Path:
    """The file with the tickets, one JSON object a line."""
    return Path(__file__).with_name("sample_tickets.jsonl")


def sample_tickets() -> Iterator[dict[str, Any]]:
    """The tickets in the order of the file; each has ``id``, ``subject``, ``body``, ``comments`` and further fields."""
    with sample_tickets_path().open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
