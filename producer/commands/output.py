"""What commands print: one JSON document with ``--json``, else text for people; errors in words, never a traceback."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from config.errors import TicketflowError, UsageError

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


def emit(as_json: bool, document: Any, text: Callable[[], None]) -> None:
    """Prints the document, or calls ``text`` to print for people."""
    if as_json:
        print(json.dumps(document, ensure_ascii=False, default=str))
    else:
        text()


def note(text: str) -> None:
    """Tells people something on standard error, where no program reads it."""
    print(text, file=sys.stderr, flush=True)


def confirm(question: str, yes: bool) -> None:
    """Asks on a terminal; elsewhere only ``--yes`` will do.

    Raises:
        UsageError: nobody can be asked.
        typer.Exit: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Nobody can be asked here: say --yes")
    if not typer.confirm(question, err=True):
        note("nothing was done")
        raise typer.Exit(1)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a table to standard output; where there is no terminal, nothing is cut or coloured."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        grid.add_row(*(Text("–" if cell is None or cell == "" else str(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=10_000)
    console.print(grid)


def fields(pairs: Iterable[tuple[str, object]]) -> None:
    """Prints names and values, one a line, aligned."""
    given = [(name, value) for name, value in pairs if value is not None]
    width = max((len(name) for name, _ in given), default=0)
    for name, value in given:
        print(
            f"{name:<{width}}  {value:%Y-%m-%d %H:%M:%S}"
            if isinstance(value, datetime)
            else f"{name:<{width}}  {value}"
        )


def print_error(error: TicketflowError, as_json: bool) -> None:
    """Tells what went wrong: on standard error, and with ``--json`` as the one document."""
    if as_json:
        print(json.dumps({"error": {"type": error.error_type, "message": str(error)}}, ensure_ascii=False))
    note(f"error: {error}")


def duration(seconds: float) -> str:
    """A length of time for people."""
    minutes, rest_s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest_s:02} s" if minutes else f"{rest_s} s"


def usd(cost: float | None, digits: int = 4) -> str | None:
    """An amount of money for people; None where it is not known."""
    return None if cost is None else f"{cost:,.{digits}f}"
