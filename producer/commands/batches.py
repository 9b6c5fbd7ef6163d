"""``ticketflow batch``: many jobs at once, from a file."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from producer.commands.batch_files import (
    BatchFile,
    FormatOption,
    InOrderOption,
    MapOption,
    ResultsFormatOption,
    come_back,
    following,
    one_document,
    show_preview,
)
from producer.commands.jobs import FallbackOption, ModelOption, ProviderOption, ReuseOption, provider_ids
from producer.commands.output import AsJson, emit, fields, note, table, usd

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobs.views import Batch
    from producer.handles import BatchHandle

app = typer.Typer(no_args_is_help=True)

CapOption = Annotated[
    float | None,
    typer.Option("--max-cost", metavar="USD", help="Pause the batch before the call that might pass this cost."),
]
BatchArgument = Annotated[str, typer.Argument(metavar="BATCH_ID")]


@app.command()
def submit(
    file: BatchFile,
    kind: Annotated[str, typer.Option(help="Job kind, such as summarise_ticket.")],
    provider: ProviderOption,
    model: ModelOption = None,
    fallback: FallbackOption = None,
    input_format: FormatOption = None,
    maps: MapOption = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Enqueue nothing: show the first input and all bad lines. Needs no service."),
    ] = False,
    name: Annotated[
        str | None, typer.Option(help="Name of the batch: the same file under the same name is enqueued once.")
    ] = None,
    reuse: ReuseOption = None,
    max_cost: CapOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Show progress until every job has ended.")] = False,
    results: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Wait, and write jobs as they end: .jsonl, .csv, .tsv, also .gz, or .parquet; - is standard output.",
        ),
    ] = None,
    results_format: ResultsFormatOption = None,
    in_order: InOrderOption = False,
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Enqueue the valid lines and report the others.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Submit a batch: all of the file or, if a line is bad, nothing of it."""
    from contextlib import nullcontext

    from config.durations import duration_s
    from jobs.kinds import kind_named
    from producer import Producer
    from producer.batch_input import open_batch
    from producer.results import open_results

    one_document(as_json, results)
    reuse_s = duration_s(reuse) if reuse is not None else None
    with open_batch(file, kind_named(kind), input_format, maps or (), skip_invalid=skip_invalid or dry_run) as intake:
        if dry_run:
            show_preview(intake, as_json, refuse_invalid=not skip_invalid)
            return
        taking = open_results(results, kind, results_format) if results else nullcontext()
        with Producer.from_env() as producer, taking as out:
            handle = producer.submit_batch(
                kind,
                intake,
                provider=provider,
                model=model,
                name=name,
                reuse_s=reuse_s,
                max_cost_usd=max_cost,
                fallbacks=provider_ids(fallback),
            )
            _report_skipped(intake.problems)
            if not handle.is_new:
                note(
                    f"batch {handle.batch_id} was submitted before under the name {name!r}: nothing was enqueued again"
                )
            batch = handle.status()
            if wait or out:
                growing = f": its results grow in {results}.part" if results not in (None, "-") else ""
                note(f"batch {handle.batch_id}{growing}")
                status = handle.status if out is None else following(producer, handle, out, in_order)
                batch = watched(handle, status, come_back(handle.batch_id, results, results_format, in_order=in_order))
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


@app.command("list")
def list_batches(
    limit: Annotated[int, typer.Option(min=1, help="Show so many, the newest first.")] = 20, as_json: AsJson = False
) -> None:
    """List the newest batches."""
    from producer import Producer

    with Producer.from_env() as producer:
        batches = producer.ledger.batches(limit)
    columns = ("batch_id", "name", "kind", "provider_id", "state", "total", "running", "succeeded", "failed")
    rows = [
        [*(getattr(b, name) for name in columns), usd(b.cost_usd, 2), f"{b.created_at:%Y-%m-%d %H:%M:%S}"]
        for b in batches
    ]
    headings = [name.upper().replace("_ID", "").replace("_", " ") for name in columns]
    emit(as_json, [b.model_dump(mode="json") for b in batches], lambda: table([*headings, "USD", "ACCEPTED"], rows))


@app.command()
def watch(batch_id: BatchArgument, as_json: AsJson = False) -> None:
    """Show progress until every job of a batch has ended."""
    from producer import Producer

    with Producer.from_env() as producer:
        batch = watched(producer.batch(batch_id))
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
def resume(batch_id: BatchArgument, max_cost: CapOption = None, as_json: AsJson = False) -> None:
    """Let a paused batch go on; one that was paused at its cap needs a higher one."""
    from producer import Producer

    with Producer.from_env() as producer:
        _changed(producer.resume_batch(batch_id, max_cost), producer.ledger.batch(batch_id), as_json)


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


def watched(handle: "BatchHandle", status: "Callable[[], Batch] | None" = None, back: str | None = None) -> "Batch":
    """Watches a batch to its end; what ends the watching leaves it running, and says how to come back.

    Args:
        handle: on the batch.
        status: reads it; as the handle does if None.
        back: the command that goes on.
    """
    from config.errors import BatchPausedError, OutputError, ServiceUnavailableError
    from producer.commands.progress import watch

    back = back or come_back(handle.batch_id, None)
    words = f"the batch goes on; come back with: {back}"
    try:
        return watch(status or handle.status)
    except KeyboardInterrupt:
        note(f"\n{words}")
        raise typer.Exit(130) from None
    except (OutputError, ServiceUnavailableError):
        note(words)
        raise
    except BatchPausedError:
        note(f"once the batch goes on, come back with: {back}")
        raise


def _report_skipped(problems: list[tuple[int, str]]) -> None:
    from config.errors import InvalidInputError

    if problems:
        note(f"left out {len(problems)} lines:\n{InvalidInputError(tuple(problems))}")


def _show(batch: "Batch", as_json: bool, more: dict[str, Any] | None = None) -> None:
    document = {**batch.model_dump(mode="json"), **(more or {})}
    emit(as_json, document, lambda: fields(batch.model_dump().items()))
    if batch.pause:
        note(f"paused: {batch.pause}")
