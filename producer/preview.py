"""A look at a batch's file before anything is enqueued; no service is needed."""

import json
from dataclasses import dataclass, field
from typing import Any

from config.errors import InvalidInputError
from producer.input_format import Problems
from producer.intake import Intake
from producer.tables import Table


@dataclass(frozen=True)
class Preview:
    """What would be enqueued.

    Args:
        valid: rows that would become jobs.
        invalid: rows that would not.
        custom_id: name of the first valid one.
        first: its input, as it would be stored.
        problems: each bad row's line and reason; line 0 stands for the file.
        columns: of a table, the header of each field's column.
        left_out: of a table, the headers of the columns that go nowhere.
    """

    valid: int
    invalid: int
    custom_id: str | None
    first: dict[str, Any] | None
    problems: Problems
    columns: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def preview(intake: Intake) -> Preview:
    """Reads a file to its end; ``intake`` has to skip bad rows, so that the good ones behind them are counted.

    Raises:
        UsageError: the file as a whole cannot be used.
    """
    jobs = iter(intake)
    problems = intake.problems
    first = None
    try:
        first = next(jobs)
        for _ in jobs:
            pass
    except InvalidInputError as error:  # no row is valid
        problems = list(error.problems)
    table = intake.rows if isinstance(intake.rows, Table) else None
    return Preview(
        intake.accepted,
        len(intake.problems),
        first.custom_id if first else None,
        json.loads(first.input) if first else None,
        problems,
        table.columns if table else {},
        table.left_out if table else [],
    )
