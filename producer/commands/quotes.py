"""``ticketflow batch quote``: what a batch would cost, and how long it would take."""

from typing import TYPE_CHECKING, Annotated

import typer

from producer.commands.batch_files import BatchFile, FormatOption, MapOption
from producer.commands.jobs import ModelOption, ProviderOption
from producer.commands.output import AsJson, duration, emit, note, table

if TYPE_CHECKING:
    from producer.quote import Quote


def register(batches: typer.Typer) -> None:
    """Adds the command to ``ticketflow batch``."""
    batches.command()(quote)


def quote(
    file: BatchFile,
    kind: Annotated[str, typer.Option(help="Job kind, such as summarise_ticket.")],
    provider: ProviderOption,
    model: ModelOption = None,
    input_format: FormatOption = None,
    maps: MapOption = None,
    compare: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Another provider to ask; may be given again.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Estimate tokens, price and time of a batch; nothing is enqueued and no provider is called."""
    from dataclasses import asdict

    from config.errors import UsageError
    from jobs.kinds import kind_named
    from producer import Producer
    from producer.batch_input import open_batch
    from producer.quote import experience, size_of
    from producer.quote import quote as quoted

    asked = kind_named(kind)
    if asked.request is None:
        raise UsageError(f"jobs of the kind {kind} are not batch work")
    with Producer.from_env() as producer, open_batch(file, asked, input_format, maps or ()) as intake:
        providers = [producer.registry.resolve(key).provider for key in dict.fromkeys([provider, *(compare or ())])]
        size = size_of(asked, intake)
        known = experience(producer.database, asked)
        quotes = [quoted(size, each, model if each.id == provider else None, known) for each in providers]
    emit(as_json, [asdict(each) for each in quotes], lambda: _print(quotes))


def _print(quotes: "list[Quote]") -> None:
    columns = ("PROVIDER", "MODEL", "JOBS", "TOKENS IN", "TOKENS OUT", "USD", "TIME", "LIMIT THAT BINDS")
    table(columns, [_row(each) for each in quotes])
    note(f"output is guessed from {quotes[0].basis}; input from its length")
    if any(each.cost_usd is None for each in quotes):
        note("no price is known where USD is –: prices stand with a provider's models (docs/providers.md)")
    if any(each.time_s is None for each in quotes):
        note("no limit is set where TIME is –: then workers and endpoint decide")


def _row(each: "Quote") -> tuple[object, ...]:
    usd = None if each.cost_usd is None else f"{each.cost_usd:.2f}"
    return (
        each.provider_id,
        each.model,
        each.jobs,
        f"{each.input_tokens:,}",
        f"{each.output_tokens:,}",
        usd,
        None if each.time_s is None else duration(each.time_s),
        each.binds,
    )
