"""Fills a JSON schema with what a summary knows, and with empty values of the right type for what it does not.

Known are the keywords that structured output of the big providers allows: ``$ref``, ``anyOf``, ``enum``, ``const``,
types, and bounds of strings, numbers and arrays; see https://json-schema.org/understanding-json-schema.
"""

from collections.abc import Mapping
from dataclasses import asdict
from difflib import get_close_matches
from typing import Any

from embedded.summariser import Summary

_MAX_DEPTH = 32
# Other names for our values, for schemas with enums of their own.
_ALIASES = {
    "urgent": ("critical", "highest", "blocker", "p1", "high"),
    "high": ("major", "important", "p2", "medium"),
    "normal": ("medium", "moderate", "standard", "p3", "low"),
    "low": ("minor", "lowest", "trivial", "p4", "normal"),
    "negative": ("bad", "unhappy", "dissatisfied", "angry"),
    "neutral": ("mixed", "none", "unknown"),
    "positive": ("good", "happy", "satisfied"),
}


def fill_schema(schema: Mapping[str, Any], summary: Summary) -> Any:
    """A value that fits the schema; an empty schema gets all fields of the summary."""
    known = {**asdict(summary), "action_items": list(summary.action_items)}
    return _Filler(schema, known).value(schema, None, 0) if schema else known


class _Filler:
    """One schema's definitions and the known values, by the names of properties."""

    def __init__(self, root: Mapping[str, Any], known: Mapping[str, Any]) -> None:
        self._root, self._known = root, known

    def value(self, schema: Mapping[str, Any], name: str | None, depth: int) -> Any:
        """The value of the property ``name``; None as the name of what is no property."""
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if depth > _MAX_DEPTH:
            return None
        if choices := schema.get("anyOf") or schema.get("oneOf"):
            return self.value(self._chosen(choices, name), name, depth + 1)
        if enum := schema.get("enum"):
            return _nearest(enum, self._known.get(name or ""))
        return self._typed(schema, name, depth)

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """The schema with ``$ref`` followed and ``allOf`` merged."""
        for _ in range(_MAX_DEPTH):
            if isinstance(target := schema.get("$ref"), str):
                schema = {**self._definition(target), **{key: schema[key] for key in schema if key != "$ref"}}
            elif parts := schema.get("allOf"):
                merged = {key: schema[key] for key in schema if key != "allOf"}
                for part in parts:
                    merged = {**self._resolved(part), **merged}
                schema = merged
            else:
                break
        return schema

    def _definition(self, target: str) -> Mapping[str, Any]:
        found: Any = self._root
        for part in target.removeprefix("#").strip("/").split("/"):
            key = part.replace("~1", "/").replace("~0", "~")
            found = found.get(key, {}) if part and isinstance(found, Mapping) else found
        return found if isinstance(found, Mapping) else {}

    def _chosen(self, choices: list[Mapping[str, Any]], name: str | None) -> Mapping[str, Any]:
        """Null for what we do not know, where that is allowed; else the first choice that is not null."""
        resolved = [self._resolved(choice) for choice in choices]
        nulls = [choice for choice in resolved if choice.get("type") == "null"]
        others = [choice for choice in resolved if choice.get("type") != "null"]
        return (nulls if nulls and name not in self._known else others or nulls)[0]

    def _typed(self, schema: Mapping[str, Any], name: str | None, depth: int) -> Any:
        types = schema.get("type", "object" if "properties" in schema else "string")
        types = [types] if isinstance(types, str) else list(types)
        if "null" in types and (name not in self._known or types == ["null"]):
            return None
        kind = next(kind for kind in types if kind != "null")
        if kind == "object":
            properties = schema.get("properties", {})
            return {key: self.value(of, key, depth + 1) for key, of in properties.items()}
        if kind == "array":
            return self._array(schema, name, depth)
        return self._text(schema, name) if kind == "string" else _number(schema, kind)

    def _array(self, schema: Mapping[str, Any], name: str | None, depth: int) -> list[Any]:
        items = self._resolved(schema.get("items") or {})
        known = self._known.get(name or "")
        filled = (
            list(known) if isinstance(known, list) and items.get("type") == "string" and "enum" not in items else []
        )
        while len(filled) < schema.get("minItems", 0):
            filled.append(self.value(items, None, depth + 1))
        return filled[: schema.get("maxItems")]

    def _text(self, schema: Mapping[str, Any], name: str | None) -> str:
        known = self._known.get(name or "")
        text: str = known if isinstance(known, str) else self._known["summary"]
        return text[: schema.get("maxLength")]


def _number(schema: Mapping[str, Any], kind: str) -> float | bool:
    """The number within the bounds that is nearest to 0, or false."""
    if kind == "boolean":
        return False
    step = 1 if kind == "integer" else 1e-6
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    lowest = schema.get("minimum", above + step if above is not None else 0)
    highest = schema.get("maximum", below - step if below is not None else max(0, lowest))
    number: float = min(max(0, lowest), highest)
    return number


def _nearest(enum: list[Any], known: Any) -> Any:
    """The enum's word for a known value: the same, another name for it, one spelled alike, or else its first."""
    by_name = {str(value).casefold(): value for value in enum}
    if isinstance(known, str):
        for name in (known, *_ALIASES.get(known, ()), *get_close_matches(known, by_name, n=1)):
            if name in by_name:
                return by_name[name]
    return enum[0]
