"""Options and output of the commands that read a batch's file or write its results."""

import json
import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from producer.commands.output import emit, note

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobs.views import Batch
    from producer.handles import BatchHandle
    from producer.intake import Intake
    from producer.preview import Preview
    from producer.producer import Producer
    from producer.results import Results

BatchFile = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="JSON lines, or a table with a header (.csv, .tsv), also compressed (.gz); - is standard input.",
    ),
]
FormatOption = Annotated[
    str | None,
    typer.Option("--format", metavar="jsonl|csv|tsv", help="Format of FILE, where its name does not say it."),
]
MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="FIELD=COLUMN",
        help="Column for a field of the kind, such as subject=Title; may be given again. Others are left out.",
    ),
]
ResultsFormatOption = Annotated[
    str | None, typer.Option(metavar="jsonl|csv|tsv|parquet", help="Format of the results, where no name says it.")
]
InOrderOption = Annotated[
    bool, typer.Option("--in-order", help="Write results in input order: each waits for those before it.")
]


def show_preview(intake: "Intake", as_json: bool, *, refuse_invalid: bool) -> None:
    """Prints what a file would become; ends as the submission would.

    Args:
        intake: skips bad rows.
        as_json: as one document.
        refuse_invalid: whether one bad row refuses the file.

    Raises:
        typer.Exit: the submission would be refused.
    """
    from producer.preview import preview

    seen = preview(intake)
    problems = [{"line": number, "reason": reason} for number, reason in seen.problems]
    emit(as_json, {"dry_run": True, **asdict(seen), "problems": problems}, lambda: _print(seen))
    if not seen.valid or (refuse_invalid and seen.invalid):
        raise typer.Exit(2)


def _print(seen: "Preview") -> None:
    if seen.first is not None:
        print(json.dumps(seen.first, ensure_ascii=False, indent=2))
    for field, column in seen.columns.items():
        note(f"{field} <- {column}")
    if seen.left_out:
        note(f"left out: {', '.join(seen.left_out)}")
    for number, reason in seen.problems:
        note(f"line {number}: {reason}" if number else reason)
    note(f"{seen.valid} valid, {seen.invalid} invalid; nothing was enqueued")


def come_back(
    batch_id: str, results: str | None, form: str | None = None, *, in_order: bool = False, failed: bool = False
) -> str:
    """The command that goes on where one ends before its batch does, with the options under which it wrote results."""
    if results is None:
        return f"ticketflow batch watch {batch_id}"
    options = ["--follow", *(["--in-order"] if in_order else []), *(["--failed"] if failed else [])]
    options += ["--format", form] if form else []
    return shlex.join(["ticketflow", "batch", "results", batch_id, *options, "--output", results])


def following(
    producer: "Producer", handle: "BatchHandle", out: "Results", in_order: bool, state: str | None = None
) -> "Callable[[], Batch]":
    """The batch's status, which on its way writes what has ended."""
    from jobs.ended import EndedJobs
    from producer.following import Following

    ended = EndedJobs(producer.database, handle.batch_id, in_order=in_order)
    return Following(handle.status, ended, out, state)


def one_document(as_json: bool, output: str | None) -> None:
    """Standard output takes either the results or the one document."""
    from config.errors import UsageError

    if as_json and output == "-":
        raise UsageError("--json and results on standard output exclude each other: name a file")
