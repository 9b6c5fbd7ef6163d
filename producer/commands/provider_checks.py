"""``ticketflow providers check`` and ``models``: what a worker finds out about a provider."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from producer.commands.output import AsJson, emit, note, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from config.providers import Model
    from jobs.kinds.check_provider import ProviderReport
    from producer.producer import Producer

ProviderArgument = Annotated[str, typer.Argument(metavar="ID", help="The provider's id.")]
TimeoutOption = Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="Wait at most so long.")]


def register(providers: typer.Typer) -> None:
    """Adds the commands to ``ticketflow providers``."""
    providers.command()(check)
    providers.command()(models)


def check(
    provider_id: ProviderArgument,
    model: Annotated[str | None, typer.Option(help="Try this model and not the default.")] = None,
    timeout_s: TimeoutOption = 90.0,
    as_json: AsJson = False,
) -> None:
    """Try a provider from a worker: key, endpoint, models, one tiny call; exit status 1 if a step fails."""
    from producer import Producer
    from producer.inspection import check_provider

    with Producer.from_env() as producer:
        report = check_provider(producer, provider_id, model, timeout_s)
    emit(as_json, report.model_dump(mode="json"), lambda: print(_text(report)))
    if not report.ok:
        raise typer.Exit(1)


def models(
    provider_id: ProviderArgument,
    save: Annotated[bool, typer.Option("--save", help="Store the list with the provider; prices are kept.")] = False,
    timeout_s: TimeoutOption = 90.0,
    as_json: AsJson = False,
) -> None:
    """List the models that a provider's endpoint offers now, as a worker sees them."""
    from producer import Producer
    from producer.inspection import list_models, with_what_is_known

    with Producer.from_env() as producer:
        found = list_models(producer, provider_id, timeout_s)
        provider = producer.providers.load().entries[provider_id].provider
        known = with_what_is_known(found, provider.models)
        document: dict[str, Any] = {"id": provider_id, "models": [model.model_dump(mode="json") for model in known]}
        if save:
            fields = {"models": document["models"]}
            document["generation"] = producer.providers.change(provider_id, fields)
    emit(as_json, document, lambda: _print(known))
    if known and provider.default_model not in {model.id for model in known}:
        note(f"the default model {provider.default_model} is not among them")


def first_check(producer: "Producer", provider_id: str) -> dict[str, Any]:
    """What is said of a provider that was just added: it may well lack its key yet, so nothing here is an error."""
    from config.errors import TicketflowError
    from producer.inspection import check_provider

    try:
        report = check_provider(producer, provider_id, None, 30.0)
    except TicketflowError as error:
        note(f"not checked: {error}")
        return {"check": None}
    note(_text(report))
    return {"check": report.model_dump(mode="json")}


def _text(report: "ProviderReport") -> str:
    return "\n".join(
        f"{'ok  ' if step.ok else 'FAIL'}  {step.step:<6}  {step.duration_ms:>6} ms  {step.detail}"
        for step in report.steps
    )


def _print(known: "Sequence[Model]") -> None:
    columns = ("MODEL", "NAME", "CONTEXT TOKENS", "USD/M IN", "USD/M OUT")
    rows = [(m.id, m.name, m.context_window_tokens, m.input_usd_per_million, m.output_usd_per_million) for m in known]
    table(columns, rows)
