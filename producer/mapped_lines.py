"""Lines of JSON whose keys are mapped to the fields of a kind."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from pydantic_core import from_json, to_json

from producer.input_format import JsonLines, Problems
from producer.mapping import Field, unknown_column


@dataclass(frozen=True)
class MappedLines:
    """One input a line, of which only the keys that were asked for, or are named like a field, are kept.

    Args:
        fields: what the kind takes.
        mapping: keys by field. A line may lack one; one that every line lacks is an error.
    """

    fields: Mapping[str, Field]
    mapping: Mapping[str, str]

    def read(self, stream: BinaryIO, problems: Problems) -> Iterator[tuple[int, bytes]]:
        """As ``Rows.read``."""
        unseen, keys = set(self.mapping), list[str]()
        for number, line in JsonLines().read(stream, problems):
            data = _object(line)
            if data is None:
                yield number, line  # whoever validates it says what is wrong
                continue
            keys = keys or list(data)
            found = {name: key for name in self.fields if (key := _key(data, self.mapping.get(name, name)))}
            unseen -= found.keys()
            yield number, to_json({name: data[key] for name, key in found.items()}, inf_nan_mode="constants")
        if unseen and keys:
            raise unknown_column(self.mapping[min(unseen)], keys)


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        data = from_json(line)
    except ValueError:
        return None
    return data if isinstance(data, dict) else None


def _key(data: Mapping[str, Any], wanted: str) -> str | None:
    """The key of that name; where none is exactly so, upper and lower case are the same."""
    if wanted in data:
        return wanted
    folded = wanted.casefold()
    return next((key for key in data if key.casefold() == folded), None)
