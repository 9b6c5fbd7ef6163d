"""``ticketflow providers export`` and ``import``: providers as a TOML file that a team keeps in git."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from producer.commands.output import AsJson, confirm, emit, note

if TYPE_CHECKING:
    from producer.provider_file import Change

SIGNS = {"add": "+", "change": "~", "remove": "-", "reset": "~"}


def register(providers: typer.Typer) -> None:
    """Adds the commands to ``ticketflow providers``."""
    providers.command("export")(export)
    providers.command("import")(import_file)


def export(
    provider_ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="All, if none is named.")] = None,
    output: Annotated[str, typer.Option(metavar="FILE", help="File to write; - is standard output.")] = "-",
) -> None:
    """Write providers as TOML: custom ones wholly, built-in ones where they were changed; keys are never part of it."""
    from config.errors import UnknownNameError
    from producer import Producer
    from producer.provider_file import render
    from producer.results import write_text

    with Producer.from_env() as producer:
        snapshot = producer.providers.load()
    entries = {key: entry.provider for key, entry in snapshot.entries.items()}
    for key in provider_ids or ():
        if key not in entries:
            raise UnknownNameError("provider", key, tuple(sorted(entries)))
    chosen = {key: provider for key, provider in entries.items() if not provider_ids or key in provider_ids}
    write_text(render(chosen), output)
    for key, reason in snapshot.damaged.items():
        if not provider_ids:
            note(f"left out: {key}: {reason}")


def import_file(
    file: Annotated[str, typer.Argument(metavar="FILE", help="TOML, as export writes it; - is standard input.")],
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Remove custom providers, and reset built-in ones, that the file does not name."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    wait_s: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=0, help="Wait for the workers to follow, at most so long.")
    ] = 5.0,
    as_json: AsJson = False,
) -> None:
    """Bring the providers to what a file says: shows the difference, asks, and makes it one change, or none."""
    from producer import Producer
    from producer.commands.providers import fail_if_behind, followed
    from producer.intake import open_input
    from producer.provider_file import MAX_FILE_BYTES, difference, parse

    with open_input(file) as stream:
        text = stream.read(MAX_FILE_BYTES + 1)
    with Producer.from_env() as producer:
        wanted = parse(text, producer.settings.egress)
        snapshot = producer.providers.load()
        stored = {key: entry.provider for key, entry in snapshot.entries.items()}
        changes = difference(stored, wanted, prune=prune, damaged=snapshot.damaged)
        document: dict[str, Any] = {"generation": snapshot.generation, "changes": list(map(_document, changes))}
        if not changes:
            emit(as_json, document, lambda: print("nothing to change"))
            return
        note("\n".join(map(_text, changes)))
        confirm(f"make these {len(changes)} changes?", yes)
        definitions = {change.provider_id: change.definition for change in changes}
        generation = producer.providers.apply(definitions, snapshot.generation)
        reached = followed(producer, generation, wait_s)
    document |= {"generation": generation, "workers": reached.document}
    emit(as_json, document, lambda: print(f"made {len(changes)} changes (generation {generation})\n{reached}"))
    fail_if_behind(reached, wait_s)


def _document(change: "Change") -> dict[str, Any]:
    fields = {name: {"from": old, "to": new} for name, (old, new) in change.fields.items()}
    return {"id": change.provider_id, "action": change.action, "fields": fields}


def _text(change: "Change") -> str:
    lines = [f"{SIGNS[change.action]} {change.provider_id} ({change.action})"]
    return "\n".join([*lines, *(f"    {name}: {old!r} → {new!r}" for name, (old, new) in change.fields.items())])
