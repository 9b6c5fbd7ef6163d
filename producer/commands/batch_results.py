"""``ticketflow batch results``: what came of a batch, as a file."""

from typing import Annotated

import typer

from producer.commands.batch_files import InOrderOption, come_back, following, one_document
from producer.commands.batches import BatchArgument, watched
from producer.commands.output import AsJson, emit


def register(batches: typer.Typer) -> None:
    """Adds the command to ``ticketflow batch``."""
    batches.command()(results)


def results(
    batch_id: BatchArgument,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="File to write: .jsonl, .csv, .tsv, also .gz, or .parquet; - is standard output.",
        ),
    ],
    failed: Annotated[bool, typer.Option("--failed", help="Only jobs that failed, with their errors.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Write jobs as they end, until every one has ended.")
    ] = False,
    in_order: InOrderOption = False,
    output_format: Annotated[
        str | None,
        typer.Option("--format", metavar="jsonl|csv|tsv|parquet", help="Format, where the name does not say it."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a batch's jobs with their results: as they are now and in input order, or with --follow as they end."""
    from producer import Producer
    from producer.results import open_results

    one_document(as_json, output)
    state = "failed" if failed else None
    with Producer.from_env() as producer:
        handle = producer.batch(batch_id)
        with open_results(output, handle.status().kind, output_format) as out:
            if follow:
                status = following(producer, handle, out, in_order, state)
                back = come_back(batch_id, output, output_format, in_order=in_order, failed=failed)
                watched(handle, status, back)
            else:
                out.write(handle.jobs(state))
        batch = handle.status()
    if output != "-":
        done = "" if batch.done else f"; {batch.queued + batch.running} have not ended yet"
        emit(
            as_json,
            {**batch.model_dump(mode="json"), "output": output, "written": out.written},
            lambda: print(f"wrote {out.written} jobs to {output}{done}"),
        )
    if follow and batch.failed:
        raise typer.Exit(1)
