"""Which columns of a file go into which fields of a kind's input: as asked for with ``--map``, else by their names."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from config.errors import UsageError
from jobs.kind import Kind

SHOWN_COLUMNS, SHOWN_CHARACTERS = 60, 40
"""How much of a header an error shows: a file without one begins with a row of somebody's data."""

_SCALARS = frozenset({"string", "integer", "number", "boolean"})
_BY_PLACE = re.compile(r"#([1-9][0-9]{0,4})")


@dataclass(frozen=True)
class Field:
    """A field of a kind's input; ``is_text`` where the text of a cell is its value, else a cell has to hold JSON."""

    name: str
    required: bool
    is_text: bool


def fields_of(kind: Kind) -> dict[str, Field]:
    """The fields that columns may go into, ``custom_id`` among them where the kind keeps it."""
    schema = kind.input.model_json_schema()
    required = set(schema.get("required", ()))
    definitions = schema.get("$defs", {})
    fields = {
        name: Field(name, name in required, _is_text(part, definitions)) for name, part in schema["properties"].items()
    }
    if kind.input.model_config.get("extra") == "allow":
        fields.setdefault("custom_id", Field("custom_id", False, True))
    return fields


def parse_mapping(texts: Iterable[str], fields: Mapping[str, Field]) -> dict[str, str]:
    """Columns by field, from texts such as ``subject=Title``.

    Raises:
        UsageError: a text has no ``=``, or names a field that is not there or was named before.
    """
    columns: dict[str, str] = {}
    for text in texts:
        name, sign, column = text.partition("=")
        if not (sign and name and column):
            raise UsageError(f"--map {text!r}: write FIELD=COLUMN, such as subject=Title")
        if name not in fields:
            raise UsageError(f"--map {text!r}: there is no field {name!r}{_close(name, fields)}; {_known(fields)}")
        if name in columns:
            raise UsageError(f"--map: the field {name!r} is named twice")
        columns[name] = column
    return columns


def resolve(fields: Mapping[str, Field], mapping: Mapping[str, str], header: Sequence[str]) -> dict[str, int]:
    """The place of each field's column in a header; columns that nobody asked for have none.

    A column goes into a field by ``mapping``, by its header or, for one of several that are named alike, by its place
    (``#7``); else into the field that it is named like, if the field takes text.

    Raises:
        UsageError: a column that was asked for is not there or not the only one of its name, a field that must be
            there has none, or no column fits at all.
    """
    names = [name.strip() for name in header]
    places = {field: _place(field, column, names) for field, column in mapping.items()}
    for field in fields.values():
        if field.name not in places and field.is_text:
            found = _like(field.name, names)
            if len(found) > 1:
                raise UsageError(_several(field.name, field.name, found))
            places |= {field.name: found[0]} if found else {}
    missing = [field.name for field in fields.values() if field.required and field.name not in places]
    if missing or not places:
        lacks = f"no column for {', '.join(missing)}" if missing else f"no column fits; {_known(fields)}"
        raise UsageError(f"{lacks}: say --map {(missing or ['FIELD'])[0]}=COLUMN. {_columns(names)}")
    return {name: places[name] for name in fields if name in places}


def unknown_column(column: str, names: Sequence[str]) -> UsageError:
    """The error for a column that is not there; says which are."""
    return UsageError(f"there is no column {column!r}{_close(column, names)}. {_columns(names)}")


def _place(field: str, column: str, names: Sequence[str]) -> int:
    found = _like(column, names)
    if len(found) > 1:
        raise UsageError(_several(column, field, found))
    if found:
        return found[0]
    by_place = _BY_PLACE.fullmatch(column)
    if by_place and int(by_place[1]) <= len(names):
        return int(by_place[1]) - 1
    raise unknown_column(column, names)


def _like(wanted: str, names: Sequence[str]) -> list[int]:
    """Columns of a name; where none has exactly that one, upper and lower case are the same."""
    wanted = wanted.strip()
    exact = [place for place, name in enumerate(names) if name == wanted]
    return exact or [place for place, name in enumerate(names) if name.casefold() == wanted.casefold()]


def _several(column: str, field: str, found: Sequence[int]) -> str:
    places = ", ".join(f"#{place + 1}" for place in found)
    return (
        f"{len(found)} columns are named {column!r} ({places}): choose by place, such as --map {field}=#{found[0] + 1}"
    )


def _close(name: str, known: Iterable[str]) -> str:
    """The name that was probably meant, upper and lower case being the same."""
    by_folded = {each.casefold(): each for each in known}
    close = difflib.get_close_matches(name.casefold(), list(by_folded), n=1)
    return f" (did you mean {by_folded[close[0]][:SHOWN_CHARACTERS]!r}?)" if close else ""


def _known(fields: Iterable[str]) -> str:
    return f"fields: {', '.join(fields)}"


def _columns(names: Sequence[str]) -> str:
    shown = [name[:SHOWN_CHARACTERS] or "(no name)" for name in names[:SHOWN_COLUMNS]]
    more = f" and {len(names) - SHOWN_COLUMNS} more" if len(names) > SHOWN_COLUMNS else ""
    return f"Columns: {', '.join(shown)}{more}"


def _is_text(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> bool:
    """Whether a value of that JSON schema can be a text or a number."""
    if "$ref" in schema:
        return _is_text(definitions[schema["$ref"].rsplit("/", 1)[1]], definitions)
    if "anyOf" in schema:
        return any(_is_text(part, definitions) for part in schema["anyOf"])
    return schema.get("type") in _SCALARS or "enum" in schema or "const" in schema
