"""The report of spend: what it is asked for, and rows that become sums without a cent lost."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from config.errors import UsageError
from jobs.spend import folded, moment

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("7d", NOW - timedelta(days=7)),
        ("30m", NOW - timedelta(minutes=30)),
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01T10:00:00+02:00", datetime(2026, 3, 1, 8, tzinfo=UTC)),
    ],
)
def test_a_moment(text: str, at: datetime) -> None:
    assert moment(text, NOW) == at


@pytest.mark.parametrize("text", ["", "0d", "-7d", "yesterday", "2026-13-01", "999999999w"])
def test_no_moment(text: str) -> None:
    with pytest.raises(UsageError, match="neither a length of time"):
        moment(text, NOW)


def row(key: str | None, outcome: str | None, calls: int, usd: str | None, unpriced: int = 0) -> dict[str, Any]:
    cost = None if usd is None else Decimal(usd)
    counts = {"calls": calls, "input_tokens": calls * 10, "output_tokens": calls, "unpriced_calls": unpriced}
    return {"key": key, "outcome": outcome, "cost_usd": cost, **counts}


def test_rows_become_a_report() -> None:
    rows = [
        row("groq", None, 90, "0.900000001"),
        row("groq", "lost", 3, "0.1"),
        row("local", None, 5, None, 5),
        row("local", "lost", 1, None, 1),
        row("local", "InvalidOutputError", 2, "0.25"),
        row("local", "SomethingNewError", 1, "0.05"),
    ]
    report = folded(NOW, NOW, "provider", rows)
    assert [(each.key, each.calls, each.cost_usd) for each in report.rows] == [
        ("groq", 93, 1.000000001),
        ("local", 9, 0.3),
    ]
    assert (report.total.calls, report.total.cost_usd, report.total.unpriced_calls) == (102, 1.300000001, 6)
    assert [(each.key, each.calls, each.cost_usd) for each in report.paid_twice] == [
        ("worker lost", 4, 0.1),
        ("invalid answer", 2, 0.25),
        ("other", 1, 0.05),
    ]
    nothing = folded(NOW, NOW, "day", [])
    assert (nothing.rows, nothing.paid_twice, nothing.total.cost_usd) == ((), (), None)
