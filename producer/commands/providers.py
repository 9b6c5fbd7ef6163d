"""``ticketflow providers``: what jobs may name, and the keys that workers use."""

import getpass
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producer.commands.output import AsJson, emit, fields, table

if TYPE_CHECKING:
    from config.registry import Entry

app = typer.Typer(no_args_is_help=True)

ProviderArgument = Annotated[str, typer.Argument(metavar="ID", help="The provider's id.")]


@app.command("list")
def list_providers(as_json: AsJson = False) -> None:
    """List all providers, built-in and custom."""
    from producer import Producer

    with Producer.from_env() as producer:
        snapshot = producer.providers.load()
    entries = [snapshot.entries[key] for key in sorted(snapshot.entries)]
    damaged = [{"id": key, "reason": reason} for key, reason in sorted(snapshot.damaged.items())]
    document = {"generation": snapshot.generation, "providers": list(map(_document, entries)), "damaged": damaged}

    def text() -> None:
        rows = [
            (p.id, p.name, p.type, p.base_url, p.default_model, "yes" if p.enabled else "no", entry.generation)
            for entry in entries
            for p in (entry.provider,)
        ]
        table(("ID", "NAME", "TYPE", "BASE URL", "DEFAULT MODEL", "ENABLED", "GENERATION"), rows)
        for entry in damaged:
            print(f"set aside: {entry['id']}: {entry['reason']}")

    emit(as_json, document, text)


@app.command()
def show(provider_id: ProviderArgument, as_json: AsJson = False) -> None:
    """Show one provider."""
    from producer import Producer

    with Producer.from_env() as producer:
        entry = producer.registry.resolve(provider_id)
    document = _document(entry)
    emit(as_json, document, lambda: fields((k, v) for k, v in document.items() if not isinstance(v, list | dict)))


@app.command()
def add(
    name: Annotated[str, typer.Option(help="What people read, up to 50 characters.")],
    base_url: Annotated[str, typer.Option(help="HTTPS, or HTTP to localhost, such as http://localhost:11434/v1.")],
    model: Annotated[str, typer.Option(help="The model that jobs use unless they name another.")],
    provider_id: Annotated[str | None, typer.Option("--id", help="Default: custom-<slug of the name>.")] = None,
    provider_type: Annotated[
        str, typer.Option("--type", help="Wire protocol: openai-compatible, groq or gemini.")
    ] = "openai-compatible",
    structured_output: Annotated[
        bool, typer.Option("--structured-output", help="The endpoint honours JSON schemas.")
    ] = False,
    timeout_s: Annotated[float, typer.Option(help="Deadline of one call in seconds.")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Add a custom provider; every process knows it within seconds, without a restart."""
    from config.providers import custom_id, parse_provider
    from producer import Producer

    provider = parse_provider(
        {
            "id": provider_id or custom_id(name),
            "name": name,
            "type": provider_type,
            "base_url": base_url.rstrip("/"),
            "default_model": model,
            "capabilities": {"structured_output": structured_output},
            "timeout_s": timeout_s,
        }
    )
    with Producer.from_env() as producer:
        generation = producer.providers.add(provider)
    emit(
        as_json,
        {"id": provider.id, "generation": generation},
        lambda: print(f"added {provider.id} (generation {generation})"),
    )


@app.command()
def remove(provider_id: ProviderArgument, as_json: AsJson = False) -> None:
    """Remove a custom provider; jobs that name it fail from then on."""
    from producer import Producer

    with Producer.from_env() as producer:
        generation = producer.providers.remove(provider_id)
    emit(
        as_json,
        {"id": provider_id, "generation": generation},
        lambda: print(f"removed {provider_id} (generation {generation})"),
    )


@app.command("set-key")
def set_key(provider_id: ProviderArgument, as_json: AsJson = False) -> None:
    """Store a provider's key in Vault, read from standard input or a hidden prompt."""
    from config.errors import UsageError
    from config.keys import open_keys
    from producer import Producer

    with Producer.from_env() as producer:
        producer.registry.resolve(provider_id)
        key = _read_key(provider_id)
        if not key:
            raise UsageError("the key is empty")
        version = open_keys(producer.settings).store(provider_id, key)
    emit(
        as_json,
        {"id": provider_id, "key_version": version},
        lambda: print(f"stored the key of {provider_id} (version {version})"),
    )


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


def _document(entry: "Entry") -> dict[str, Any]:
    return {**entry.provider.model_dump(mode="json"), "generation": entry.generation}
