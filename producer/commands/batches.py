"""``ticketflow batch``: many jobs at once, from a file."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from producer.commands.jobs import ModelOption, ProviderOption
from producer.commands.output import AsJson, emit, fields, note

if TYPE_CHECKING:
    from jobs.views import Batch

app = typer.Typer(no_args_is_help=True)

BatchArgument = Annotated[str, typer.Argument(metavar="BATCH_ID")]


@app.command()
def submit(
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON lines, one input a line; - is standard input.")],
    kind: Annotated[str, typer.Option(help="Job kind, such as summarise_ticket.")],
    provider: ProviderOption,
    model: ModelOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Show progress until every job has ended.")] = False,
    results: Annotated[
        str | None, typer.Option(metavar="FILE", help="Wait, and write one job a line there; - is standard output.")
    ] = None,
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Enqueue the valid lines and report the others.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Submit a batch: all of the file or, if a line is bad, nothing of it."""
    from jobs.kinds import kind_named
    from producer import Producer
    from producer.commands.progress import watch
    from producer.intake import Intake, open_input
    from producer.results import write_results

    _one_document(as_json, results)
    with Producer.from_env() as producer, open_input(file) as stream:
        intake = Intake(kind_named(kind), stream, skip_invalid)
        handle = producer.submit_batch(kind, intake, provider=provider, model=model)
        _report_skipped(intake.problems)
        batch = handle.status()
        if wait or results:
            note(f"batch {handle.batch_id}")
            batch = watch(handle.status)
        if results:
            write_results(handle.jobs(), results)
    skipped = [{"line": number, "reason": reason} for number, reason in intake.problems]
    if results != "-":
        _show(batch, as_json, {"skipped": skipped} if skip_invalid else {})
    if batch.failed:
        raise typer.Exit(1)


@app.command()
def status(batch_id: BatchArgument, as_json: AsJson = False) -> None:
    """Show how far a batch is."""
    from producer import Producer

    with Producer.from_env() as producer:
        _show(producer.ledger.batch(batch_id), as_json)


@app.command()
def results(
    batch_id: BatchArgument,
    output: Annotated[str, typer.Option(metavar="FILE", help="File to write; - is standard output.")],
    as_json: AsJson = False,
) -> None:
    """Write a batch's jobs with their results, one a line, in input order; jobs that go on are written as they are."""
    from producer import Producer
    from producer.results import write_results

    _one_document(as_json, output)
    with Producer.from_env() as producer:
        handle = producer.batch(batch_id)
        count = write_results(handle.jobs(), output)
        batch = handle.status()
    if output != "-":
        done = "" if batch.done else f"; {batch.queued + batch.running} have not ended yet"
        emit(
            as_json,
            {**batch.model_dump(mode="json"), "output": output, "written": count},
            lambda: print(f"wrote {count} jobs to {output}{done}"),
        )


def _one_document(as_json: bool, output: str | None) -> None:
    """Standard output takes either the results or the one document."""
    from config.errors import UsageError

    if as_json and output == "-":
        raise UsageError("--json and results on standard output exclude each other: name a file")


def _report_skipped(problems: list[tuple[int, str]]) -> None:
    from config.errors import InvalidInputError

    if problems:
        note(f"left out {len(problems)} lines:\n{InvalidInputError(tuple(problems))}")


def _show(batch: "Batch", as_json: bool, more: dict[str, Any] | None = None) -> None:
    document = {**batch.model_dump(mode="json"), **(more or {})}
    emit(as_json, document, lambda: fields(batch.model_dump().items()))
