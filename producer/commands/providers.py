"""``ticketflow providers``: what jobs may name, and the keys that workers use."""

import getpass
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producer.commands.output import AsJson, emit, fields, table

if TYPE_CHECKING:
    from collections.abc import Callable

    from config.circuits import CircuitState
    from config.provider_store import ProviderStore
    from config.registry import Entry
    from producer.convergence import Convergence
    from producer.producer import Producer

app = typer.Typer(no_args_is_help=True)

NAME_HELP = "What people read, up to 50 characters."
URL_HELP = "HTTPS, or HTTP to localhost, such as http://localhost:11434/v1."
MODEL_HELP = "The model that jobs use unless they name another."
TIMEOUT_HELP = "Deadline of one call in seconds."
ATTEMPTS_HELP = "Most calls for one job; 0 is the workers' default."
TOTAL_HELP = "No further attempt at a job after so many seconds; 0 is the workers' default."
STRUCTURED = typer.Option("--structured-output/--no-structured-output", help="The endpoint honours JSON schemas.")
MULTIMODAL = typer.Option("--multimodal/--no-multimodal", help="Its models take images.")
RequestsOption = Annotated[
    int | None, typer.Option(help="Most requests a minute, over all workers; 0 is no limit.", min=0)
]
TokensOption = Annotated[int | None, typer.Option(help="Most tokens a minute, in and out; 0 is no limit.", min=0)]
InFlightOption = Annotated[int | None, typer.Option(help="Most calls at once, over all workers; 0 is no limit.", min=0)]
AttemptsOption = Annotated[int | None, typer.Option(help=ATTEMPTS_HELP, min=0)]
TotalTimeOption = Annotated[float | None, typer.Option(help=TOTAL_HELP, min=0)]
WaitOption = Annotated[
    float, typer.Option("--wait", metavar="SECONDS", min=0, help="Wait for the workers to follow, at most so long.")
]
ProviderArgument = Annotated[str, typer.Argument(metavar="ID", help="The provider's id.")]


@app.command("list")
def list_providers(as_json: AsJson = False) -> None:
    """List all providers, built-in and custom."""
    from producer import Producer

    with Producer.from_env() as producer:
        snapshot = producer.providers.load()
        entries = [snapshot.entries[key] for key in sorted(snapshot.entries)]
        circuits = _circuits(producer, entries)
    damaged = [{"id": key, "reason": reason} for key, reason in sorted(snapshot.damaged.items())]
    document = {
        "generation": snapshot.generation,
        "providers": [_document(entry, circuits) for entry in entries],
        "damaged": damaged,
    }

    def text() -> None:
        rows = [
            (
                *(p.id, p.name, p.type, p.base_url, p.default_model, "yes" if p.enabled else "no"),
                circuits.get(p.id, "unknown"),
                entry.generation,
            )
            for entry in entries
            for p in (entry.provider,)
        ]
        table(("ID", "NAME", "TYPE", "BASE URL", "DEFAULT MODEL", "ENABLED", "CIRCUIT", "GENERATION"), rows)
        for entry in damaged:
            print(f"set aside: {entry['id']}: {entry['reason']}")

    emit(as_json, document, text)


@app.command()
def show(provider_id: ProviderArgument, as_json: AsJson = False) -> None:
    """Show one provider."""
    from producer import Producer

    with Producer.from_env() as producer:
        entry = producer.registry.resolve(provider_id)
        document = _document(entry, _circuits(producer, [entry]))
    emit(as_json, document, lambda: fields((k, v) for k, v in document.items() if not isinstance(v, list | dict)))


@app.command()
def add(
    name: Annotated[str, typer.Option(help=NAME_HELP)],
    base_url: Annotated[str, typer.Option(help=URL_HELP)],
    model: Annotated[str, typer.Option(help=MODEL_HELP)],
    provider_id: Annotated[str | None, typer.Option("--id", help="Default: custom-<slug of the name>.")] = None,
    provider_type: Annotated[
        str, typer.Option("--type", help="Wire protocol: openai-compatible, groq or gemini.")
    ] = "openai-compatible",
    structured_output: Annotated[bool, STRUCTURED] = False,
    multimodal: Annotated[bool, MULTIMODAL] = False,
    requests_per_minute: RequestsOption = None,
    tokens_per_minute: TokensOption = None,
    calls_in_flight: InFlightOption = None,
    timeout_s: Annotated[float, typer.Option(help=TIMEOUT_HELP)] = 60.0,
    max_attempts: AttemptsOption = None,
    total_time_s: TotalTimeOption = None,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Have a worker try it at once.")] = True,
    wait_s: WaitOption = 5.0,
    as_json: AsJson = False,
) -> None:
    """Add a custom provider; every process knows it at once, without a restart."""
    from config.providers import custom_id, parse_provider
    from producer.commands.provider_checks import first_check

    provider = parse_provider(
        {
            "id": provider_id or custom_id(name),
            "name": name,
            "type": provider_type,
            "base_url": base_url.rstrip("/"),
            "default_model": model,
            "capabilities": {"structured_output": structured_output, "multimodal": multimodal},
            "limits": _limits(requests_per_minute, tokens_per_minute, calls_in_flight),
            "timeout_s": timeout_s,
            **_bounds(max_attempts, total_time_s),
        }
    )
    more = (lambda producer: first_check(producer, provider.id)) if check else None
    _change("added", provider.id, lambda store: store.add(provider), wait_s, as_json, more)


@app.command("set")
def set_fields(
    provider_id: ProviderArgument,
    name: Annotated[str | None, typer.Option(help=NAME_HELP)] = None,
    base_url: Annotated[str | None, typer.Option(help=URL_HELP)] = None,
    model: Annotated[str | None, typer.Option(help=MODEL_HELP)] = None,
    structured_output: Annotated[bool | None, STRUCTURED] = None,
    multimodal: Annotated[bool | None, MULTIMODAL] = None,
    requests_per_minute: RequestsOption = None,
    tokens_per_minute: TokensOption = None,
    calls_in_flight: InFlightOption = None,
    timeout_s: Annotated[float | None, typer.Option(help=TIMEOUT_HELP)] = None,
    max_attempts: AttemptsOption = None,
    total_time_s: TotalTimeOption = None,
    wait_s: WaitOption = 5.0,
    as_json: AsJson = False,
) -> None:
    """Change fields of a provider, built-in ones too; calls in flight end as they began."""
    from config.errors import UsageError

    given: dict[str, Any] = {
        "name": name,
        "base_url": base_url and base_url.rstrip("/"),
        "default_model": model,
        "timeout_s": timeout_s,
        "capabilities": _given(structured_output=structured_output, multimodal=multimodal) or None,
        "limits": _limits(requests_per_minute, tokens_per_minute, calls_in_flight) or None,
    }
    fields = _given(**given) | _bounds(max_attempts, total_time_s)
    if not fields:
        raise UsageError("name what is to change, such as --model")
    _change("changed", provider_id, lambda store: store.change(provider_id, fields), wait_s, as_json)


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _bounds(max_attempts: int | None, total_time_s: float | None) -> dict[str, Any]:
    given = _given(max_attempts=max_attempts, total_time_s=total_time_s)
    return {name: value or None for name, value in given.items()}


def _limits(
    requests_per_minute: int | None, tokens_per_minute: int | None, calls_in_flight: int | None
) -> dict[str, Any]:
    given = _given(
        requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute, calls_in_flight=calls_in_flight
    )
    return {name: value or None for name, value in given.items()}


@app.command()
def enable(provider_id: ProviderArgument, wait_s: WaitOption = 5.0, as_json: AsJson = False) -> None:
    """Let jobs name a provider again."""
    _change("enabled", provider_id, lambda store: store.change(provider_id, {"enabled": True}), wait_s, as_json)


@app.command()
def disable(provider_id: ProviderArgument, wait_s: WaitOption = 5.0, as_json: AsJson = False) -> None:
    """Refuse new jobs for a provider and fail those that wait for it."""
    _change("disabled", provider_id, lambda store: store.change(provider_id, {"enabled": False}), wait_s, as_json)


@app.command()
def reset(
    provider_id: Annotated[str | None, typer.Argument(metavar="ID", help="A built-in provider.")] = None,
    all_custom: Annotated[bool, typer.Option("--all-custom", help="Remove every custom provider.")] = False,
    wait_s: WaitOption = 5.0,
    as_json: AsJson = False,
) -> None:
    """Take back every change to a built-in provider, or remove all custom ones."""
    from config.errors import UsageError

    if provider_id and not all_custom:
        _change("reset", provider_id, lambda store: store.reset(provider_id), wait_s, as_json)
    elif all_custom and not provider_id:
        _change("removed", "all custom providers", lambda store: store.remove_all_custom(), wait_s, as_json)
    else:
        raise UsageError("name a built-in provider or --all-custom")


@app.command()
def remove(provider_id: ProviderArgument, wait_s: WaitOption = 5.0, as_json: AsJson = False) -> None:
    """Remove a custom provider; jobs that wait for it fail, and no call to it is begun after the wait."""
    _change("removed", provider_id, lambda store: store.remove(provider_id), wait_s, as_json)


def _change(
    done: str,
    provider_id: str,
    change: "Callable[[ProviderStore], int]",
    wait_s: float,
    as_json: bool,
    more: "Callable[[Producer], dict[str, Any]] | None" = None,
) -> None:
    """Makes a change, waits until the workers follow, and says both; status 1 if some are behind."""
    from producer import Producer

    with Producer.from_env() as producer:
        generation = change(producer.providers)
        reached = followed(producer, generation, wait_s)
        found = more(producer) if more else {}
    document = {"id": provider_id, "generation": generation, "workers": reached.document, **found}
    emit(as_json, document, lambda: print(f"{done} {provider_id} (generation {generation})\n{reached}"))
    fail_if_behind(reached, wait_s)


def followed(producer: "Producer", generation: int, wait_s: float) -> "Convergence":
    """How far the workers have come, after waiting for them."""
    from config.presence import PresenceBoard
    from producer.convergence import wait_for_generation

    board = PresenceBoard(producer.redis, producer.settings.redis_url)
    return wait_for_generation(board, producer.ledger, generation, wait_s)


def fail_if_behind(reached: "Convergence", wait_s: float) -> None:
    """Exit status 1 where the workers were waited for and some are behind."""
    if reached.behind and wait_s:
        raise typer.Exit(1)


@app.command("set-key")
def set_key(provider_id: ProviderArgument, wait_s: WaitOption = 5.0, as_json: AsJson = False) -> None:
    """Store a provider's key in Vault, read from standard input or a hidden prompt; workers use it at once."""
    from config.errors import ServiceUnavailableError, UsageError
    from config.keys import open_keys
    from producer import Producer

    with Producer.from_env() as producer:
        producer.registry.resolve(provider_id)
        key = _read_key(provider_id)
        if not key:
            raise UsageError("the key is empty")
        version = open_keys(producer.settings).store(provider_id, key)
        try:
            generation = producer.providers.key_was_set(provider_id)
        except ServiceUnavailableError as error:
            raise ServiceUnavailableError(
                error.service, error.address, f"{error.reason}; the key is stored, and workers read it within a minute"
            ) from None
        reached = followed(producer, generation, wait_s)
    document = {"id": provider_id, "key_version": version, "generation": generation, "workers": reached.document}
    emit(as_json, document, lambda: print(f"stored the key of {provider_id} (version {version})\n{reached}"))
    fail_if_behind(reached, wait_s)


def _read_key(provider_id: str) -> str:
    """Never from the command line: what stands there is seen by every process and kept in the shell's history."""
    from config.errors import UsageError

    if sys.stdin.isatty():
        return _checked(getpass.getpass(f"Key of {provider_id}: "))
    try:
        return _checked(sys.stdin.read(65536))
    except UnicodeDecodeError:
        raise UsageError("the key is not text") from None


def _checked(given: str) -> str:
    from config.errors import UsageError

    key = given.strip()
    if any(character.isspace() or not character.isprintable() or not character.isascii() for character in key):
        raise UsageError("the key holds spaces, line breaks or other characters that no key has")
    return key


def _circuits(producer: "Producer", entries: "list[Entry]") -> "dict[str, CircuitState]":
    """Whether providers are left alone; empty while Redis is away, since it alone knows."""
    from config.circuits import CircuitBoard
    from config.errors import ServiceUnavailableError

    try:
        board = CircuitBoard(producer.redis, producer.settings.redis_url)
        return board.states((entry.provider.id, entry.generation) for entry in entries)
    except ServiceUnavailableError:
        return {}


def _document(entry: "Entry", circuits: "dict[str, CircuitState]") -> dict[str, Any]:
    circuit = circuits.get(entry.provider.id)
    return {**entry.provider.model_dump(mode="json"), "generation": entry.generation, "circuit": circuit}
