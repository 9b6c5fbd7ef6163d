"""Providers as a TOML file: what a team keeps in git. Pure: text in, a plan out; nothing is read or written here."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from config.egress import EgressPolicy
from config.errors import InvalidProviderError
from config.providers import Provider, builtin_providers, overlaid, parse_provider

MAX_FILE_BYTES = 2**20
"""A thousand providers with all their models take less."""

HEADER = """\
# Providers of TicketFlow: `ticketflow providers import` shows what would change, and asks.
# A built-in provider (groq, gemini, openai) holds only what differs from how it is shipped. Keys are in Vault alone.
"""
_NOT_IN_FILES = frozenset({"id", "is_custom"})


@dataclass(frozen=True)
class Change:
    """What a file would do to one provider; ``fields`` holds what was and what will be, by field."""

    provider_id: str
    action: Literal["add", "change", "remove", "reset"]
    fields: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    definition: Mapping[str, Any] | None = None
    """What is stored: all of a custom provider, the overrides of a built-in; None takes the row away."""


def render(providers: Mapping[str, Provider]) -> str:
    """The file's text for providers by id; a built-in that is as shipped has nothing to say."""
    import tomli_w

    tables = {key: _said(provider) for key, provider in sorted(providers.items())}
    return HEADER + "\n" + tomli_w.dumps({key: table for key, table in tables.items() if table})


def parse(text: bytes, egress: EgressPolicy) -> dict[str, Provider]:
    """The providers of a file by id, each validated as a whole.

    Args:
        text: of the file.
        egress: what may be a base URL.

    Raises:
        InvalidProviderError: with everything that is wrong.
    """
    if len(text) > MAX_FILE_BYTES:
        raise InvalidProviderError(f"the file is larger than {MAX_FILE_BYTES // 2**20} MiB")
    try:
        tables = tomllib.loads(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InvalidProviderError(f"the file is not UTF-8 at byte {error.start + 1}") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidProviderError(f"the file is not TOML: {error}") from None
    found: dict[str, Provider] = {}
    problems: list[str] = []
    for key, table in tables.items():
        try:
            found[key] = _provider(key, table, egress)
        except InvalidProviderError as error:
            problems.append(str(error))
    if problems:
        raise InvalidProviderError("\n".join(problems))
    return found


def difference(
    stored: Mapping[str, Provider], wanted: Mapping[str, Provider], *, prune: bool, damaged: Mapping[str, str]
) -> list[Change]:
    """What has to be done, by id.

    Args:
        stored: all providers as they are.
        wanted: those of the file.
        prune: what the file does not name goes: custom providers are removed, built-in ones are as shipped again.
        damaged: entries that cannot be read; the file replaces them, and ``prune`` removes them.
    """
    changes = [_change(key, stored.get(key), provider) for key, provider in wanted.items()]
    if prune:
        changes += [_gone(key, stored.get(key)) for key in (stored.keys() | damaged.keys()) - wanted.keys()]
    return sorted((change for change in changes if change), key=lambda change: change.provider_id)


def _provider(key: str, table: Any, egress: EgressPolicy) -> Provider:
    if not isinstance(table, dict):
        raise InvalidProviderError(f"provider {key}: must be a table, [{key}]")
    for name in _NOT_IN_FILES & table.keys():
        raise InvalidProviderError(f"provider {key}: {name}: is not given in files")
    shipped = builtin_providers().get(key)
    base = shipped.model_dump(mode="json") if shipped else {"id": key}
    provider = parse_provider(overlaid(base, table))
    provider = provider.model_copy(update={"base_url": provider.base_url.rstrip("/")})
    problem = egress.base_url_problem(provider.base_url)
    if problem:
        raise InvalidProviderError(f"provider {key}: base_url: {problem}")
    return provider


def _said(provider: Provider) -> dict[str, Any]:
    """What a file says of a provider: what differs from its defaults, or from how it is shipped."""
    shipped = builtin_providers().get(provider.id)
    if shipped is None:
        return provider.model_dump(mode="json", exclude=set(_NOT_IN_FILES), exclude_defaults=True, exclude_none=True)
    said: dict[str, Any] = _without_none(_overrides(shipped, provider))
    return said


def _overrides(shipped: Provider, provider: Provider) -> dict[str, Any]:
    before, after = shipped.model_dump(mode="json"), provider.model_dump(mode="json")
    return {name: _part(before[name], value) for name, value in after.items() if value != before[name]}


def _part(before: Any, after: Any) -> Any:
    """Of ``capabilities`` and ``limits`` the parts that differ."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return after
    return {name: value for name, value in after.items() if value != before.get(name)}


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(part) for key, part in value.items() if part is not None}
    return [_without_none(part) for part in value] if isinstance(value, list) else value


def _change(key: str, stored: Provider | None, wanted: Provider) -> Change | None:
    shipped = builtin_providers().get(key)
    definition = _overrides(shipped, wanted) if shipped else wanted.model_dump(mode="json", exclude={"id"})
    if stored is None:
        return Change(key, "add", {}, definition)
    before, after = stored.model_dump(mode="json"), wanted.model_dump(mode="json")
    fields = {name: (before[name], value) for name, value in after.items() if value != before[name]}
    return Change(key, "change", fields, definition or None) if fields else None


def _gone(key: str, stored: Provider | None) -> Change | None:
    shipped = builtin_providers().get(key)
    if shipped is None:
        return Change(key, "remove")
    if stored is None:
        return Change(key, "reset")
    fields = {name: (value, getattr(shipped, name)) for name, value in _overrides(shipped, stored).items()}
    return Change(key, "reset", fields) if fields else None
