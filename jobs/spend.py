"""What was spent, and what of it was paid twice: every call is a row, so nothing of this is kept a second time."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

from config.database import Database
from config.durations import duration_s
from config.errors import UsageError
from jobs.statements import statement

By = Literal["provider", "model", "kind", "batch", "day"]

CAUSES = {
    "lost": "worker lost",
    "cancelled": "worker stopped",
    "ProviderTimeoutError": "no answer in time",
    "ProviderConnectionError": "connection cut",
    "ProviderReplyError": "broken answer",
    "InvalidOutputError": "invalid answer",
    "succeeded": "run again by request",
}
"""Why a call was made again, by what became of it; docs/howto/spend.md says what each means."""

OTHER = "other"
COUNTS = ("calls", "input_tokens", "output_tokens", "unpriced_calls")


@dataclass(frozen=True)
class Spend:
    """Calls, their tokens, and their cost.

    Args:
        key: what they have in common; None for what has none, such as single jobs by batch.
        cost_usd: of those whose price was known; None if it was known of none.
        unpriced_calls: those that were charged, or may have been, at a price that nobody knew.
    """

    key: str | None
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    unpriced_calls: int = 0


@dataclass(frozen=True)
class SpendReport:
    """What was spent since a moment.

    Args:
        since, until: of the calls' beginnings.
        by: what ``rows`` are by.
        rows: every call, once.
        total: of the rows.
        paid_twice: by cause, those of them that brought nothing, may have been charged, and were made again.
    """

    since: datetime
    until: datetime
    by: By
    rows: tuple[Spend, ...]
    total: Spend
    paid_twice: tuple[Spend, ...]


def spend(database: Database, since: str, by: By) -> SpendReport:
    """Adds up what calls cost.

    Args:
        database: the ledger.
        since: a length of time before now, such as 7d, or a date or time in ISO 8601; without a zone it is UTC.
        by: what the rows are by.

    Raises:
        UsageError: ``since`` or ``by`` is neither.
        ServiceUnavailableError: Postgres is away.
    """
    if by not in get_args(By):
        raise UsageError(f"spend is reported by {', '.join(get_args(By))}; not by {by!r}")
    now = database.query("SELECT now() AS now")[0]["now"]
    start = moment(since, now)
    rows = database.query(statement("spend"), {"since": start, "by": by})
    return folded(start, now, by, rows)


def moment(text: str, now: datetime) -> datetime:
    """The time that a length of time before ``now``, a date or a time means.

    Raises:
        UsageError: it is none of them.
    """
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        try:
            return now - timedelta(seconds=duration_s(text))
        except (UsageError, OverflowError):
            words = "neither a length of time, such as 7d, nor a date, such as 2026-03-31"
            raise UsageError(f"{text!r} is {words}") from None
    return given if given.tzinfo else given.replace(tzinfo=UTC)


def folded(since: datetime, until: datetime, by: By, rows: Iterable[dict[str, Any]]) -> SpendReport:
    """The report, of rows by key and by what became of calls that were repeated (``outcome``; null for all others)."""
    given = list(rows)
    repeated = [row for row in given if row["outcome"]]
    return SpendReport(
        since,
        until,
        by,
        _by(given, lambda row: row["key"]),
        _sum(None, given),
        _by(repeated, lambda row: CAUSES.get(row["outcome"], OTHER)),
    )


def _by(rows: list[dict[str, Any]], key_of: Callable[[dict[str, Any]], str | None]) -> tuple[Spend, ...]:
    groups: dict[str | None, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(key_of(row), []).append(row)
    return tuple(_sum(key, group) for key, group in groups.items())


def _sum(key: str | None, rows: list[dict[str, Any]]) -> Spend:
    costs = [row["cost_usd"] for row in rows if row["cost_usd"] is not None]
    return Spend(
        key,
        cost_usd=float(sum(costs)) if costs else None,
        **{name: sum(int(row[name]) for row in rows) for name in COUNTS},
    )
