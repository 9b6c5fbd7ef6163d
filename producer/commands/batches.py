"""``ticketflow batch``: many jobs at once, from a file."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from producer.commands.jobs import ModelOption, ProviderOption
from producer.commands.output import AsJson, emit, fields, note, table

if TYPE_CHECKING:
    from config.providers import Model
    from jobs.views import Batch
    from producer.handles import BatchHandle
    from producer.producer import Producer

app = typer.Typer(no_args_is_help=True)

BatchArgument = Annotated[str, typer.Argument(metavar="BATCH_ID")]


@app.command()
def submit(
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON lines, one input a line; - is standard input.")],
    kind: Annotated[str, typer.Option(help="Job kind, such as summarise_ticket.")],
    provider: ProviderOption,
    model: ModelOption = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the batch: the same file under the same name is enqueued once.")
    ] = None,
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
    from producer.intake import Intake, open_input
    from producer.results import write_results

    _one_document(as_json, results)
    with Producer.from_env() as producer, open_input(file) as stream:
        intake = Intake(kind_named(kind), stream, skip_invalid)
        handle = producer.submit_batch(kind, intake, provider=provider, model=model, name=name)
        _report_skipped(intake.problems)
        if not handle.is_new:
            note(f"batch {handle.batch_id} was submitted before under the name {name!r}: nothing was enqueued again")
        batch = handle.status()
        if wait or results:
            note(f"batch {handle.batch_id}")
            batch = _watched(producer, handle)
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


@app.command("list")
def list_batches(
    limit: Annotated[int, typer.Option(min=1, help="Show so many, the newest first.")] = 20, as_json: AsJson = False
) -> None:
    """List the newest batches."""
    from producer import Producer

    with Producer.from_env() as producer:
        batches = producer.ledger.batches(limit)
    columns = ("batch_id", "name", "kind", "provider_id", "state", "total", "running", "succeeded", "failed")
    rows = [[*(getattr(b, name) for name in columns), f"{b.created_at:%Y-%m-%d %H:%M:%S}"] for b in batches]
    headings = [name.upper().replace("_ID", "").replace("_", " ") for name in columns]
    emit(as_json, [b.model_dump(mode="json") for b in batches], lambda: table([*headings, "ACCEPTED"], rows))


@app.command()
def watch(batch_id: BatchArgument, as_json: AsJson = False) -> None:
    """Show progress until every job of a batch has ended."""
    from producer import Producer

    with Producer.from_env() as producer:
        batch = _watched(producer, producer.batch(batch_id))
    _show(batch, as_json)
    if batch.failed:
        raise typer.Exit(1)


@app.command()
def cancel(batch_id: BatchArgument, as_json: AsJson = False) -> None:
    """End a batch: what waits at once, what runs within two seconds, its calls cut off."""
    from producer import Producer

    with Producer.from_env() as producer:
        ended, asked = producer.ledger.cancel_batch(batch_id)
    emit(
        as_json,
        {"batch_id": batch_id, "cancelled": ended, "stopping": asked},
        lambda: print(f"cancelled {ended} jobs that waited; {asked} that run are being stopped"),
    )


@app.command()
def pause(batch_id: BatchArgument, as_json: AsJson = False) -> None:
    """Let no further job of a batch begin; what runs goes on to its end."""
    from producer import Producer

    with Producer.from_env() as producer:
        _changed(producer.ledger.pause(batch_id), producer.ledger.batch(batch_id), as_json)


@app.command()
def resume(batch_id: BatchArgument, as_json: AsJson = False) -> None:
    """Let a paused batch go on."""
    from producer import Producer

    with Producer.from_env() as producer:
        _changed(producer.resume_batch(batch_id), producer.ledger.batch(batch_id), as_json)


@app.command("retry-failed")
def retry_failed(
    batch_id: BatchArgument,
    error: Annotated[str | None, typer.Option("--error", metavar="TYPE", help="Only those with this error.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run a batch's failed jobs once more."""
    from jobs.selection import Selection
    from producer import Producer

    with Producer.from_env() as producer:
        producer.ledger.batch(batch_id)
        total = producer.rerun(Selection(batch_id=batch_id, states=("failed",), error_type=error))
    emit(as_json, {"batch_id": batch_id, "queued": total}, lambda: print(f"queued {total} jobs again"))


def _changed(done: bool, batch: "Batch", as_json: bool) -> None:
    from config.errors import ConflictError

    if not done:
        raise ConflictError(f"batch {batch.batch_id} has ended already: it is {batch.state}")
    _show(batch, as_json)


def _watched(producer: "Producer", handle: "BatchHandle") -> "Batch":
    """Watches a batch to its end; Ctrl-C leaves it running."""
    from producer.commands.progress import watch

    try:
        return watch(handle.status, _priced(producer, handle.status()))
    except KeyboardInterrupt:
        note(f"\nthe batch goes on; come back with: ticketflow batch watch {handle.batch_id}")
        raise typer.Exit(130) from None


def _priced(producer: "Producer", batch: "Batch") -> "Model | None":
    """The model that a batch pays for, where its prices are known."""
    entry = producer.registry.snapshot.entries.get(batch.provider_id)
    if entry is None:
        return None
    name = batch.model or entry.provider.default_model
    return next((model for model in entry.provider.models if model.id == name), None)


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
