"""``ticketflow report``: what the work has cost."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from producer.commands.output import AsJson, emit, note, table, usd

if TYPE_CHECKING:
    from jobs.spend import Spend, SpendReport

app = typer.Typer(no_args_is_help=True)


@app.callback()
def report() -> None:
    """Keeps ``spend`` a command of its own, also while it is the only one."""


@app.command()
def spend(
    since: Annotated[
        str, typer.Option(metavar="7d|DATE", help="Calls of so long, or from that date or time on (UTC).")
    ] = "30d",
    by: Annotated[
        Literal["provider", "model", "kind", "batch", "day"], typer.Option(help="What the rows are by.")
    ] = "provider",
    as_json: AsJson = False,
) -> None:
    """Show calls, tokens and cost, and what of it was paid twice, by cause."""
    from dataclasses import asdict

    from jobs.spend import spend as spent
    from producer import Producer

    with Producer.from_env() as producer:
        found = spent(producer.database, since, by)
    emit(as_json, asdict(found), lambda: _print(found))


def _print(found: "SpendReport") -> None:
    columns = ("CALLS", "TOKENS IN", "TOKENS OUT", "USD")
    rows = [_row(each) for each in found.rows]
    if len(rows) != 1:
        rows.append(("total", *_row(found.total)[1:]))
    table((found.by.upper(), *columns), rows)
    print()
    table(("PAID TWICE", *columns), [_row(each) for each in found.paid_twice] or [("nothing", 0, 0, 0, None)])
    note(f"calls since {found.since:%Y-%m-%d %H:%M:%S} UTC; where nobody knows the end, the most that it can have cost")
    if found.total.unpriced_calls:
        note(f"{found.total.unpriced_calls} calls at unknown prices are not in USD (docs/providers.md)")


def _row(each: "Spend") -> tuple[object, ...]:
    counts = (f"{number:,}" for number in (each.calls, each.input_tokens, each.output_tokens))
    return (each.key, *counts, usd(each.cost_usd))
