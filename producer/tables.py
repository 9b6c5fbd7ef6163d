"""Rows of CSV and TSV files as help desks export them, mapped to the fields of a kind."""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, TextIO

from pydantic_core import PydanticSerializationError, from_json, to_json

from config.errors import InvalidInputError, UsageError
from producer.input_format import MAX_LINE_BYTES, Problems, reading
from producer.mapping import Field, resolve

DELIMITERS = ",;\t|"
_QUOTED = re.compile(r'"[^"]*"')
_UNCLOSED = "unexpected end of data"  # of the csv module


@dataclass(frozen=True)
class Table:
    """One input a row, its first row being the header. ``columns`` holds, once that is read, the header by field.

    A cell is text; one of a field that takes lists holds JSON. An empty cell is left out, unless its field must be
    there. Empty rows are passed over, a row with more or fewer cells than the header is a problem.

    Args:
        fields: what the kind takes.
        mapping: columns by field, where the names do not say it.
        delimiter: between cells; where None, the one of ``, ; tab |`` that the header has most of.
    """

    fields: Mapping[str, Field]
    mapping: Mapping[str, str]
    delimiter: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def read(self, stream: BinaryIO, problems: Problems) -> Iterator[tuple[int, bytes]]:
        """As ``Rows.read``; a row's number is that of the line on which it begins."""
        with reading(), _text(stream) as text:
            lines = _Lines(text)
            header, places = [], dict[str, int]()
            for number, row in _rows(lines, self.delimiter or _delimiter(lines.first()), problems):
                if not places:
                    header, places = row, resolve(self.fields, self.mapping, row)
                    self.columns.update({name: header[place] for name, place in places.items()})
                    self.left_out.extend(n for place, n in enumerate(header) if n and place not in places.values())
                    continue
                try:
                    yield number, self._input(row, len(header), places)
                except InvalidInputError as error:
                    problems.append((number, error.problems[0][1]))

    def _input(self, row: list[str], width: int, places: Mapping[str, int]) -> bytes:
        if len(row) < width or any(row[width:]):
            raise InvalidInputError(((0, f"{len(row)} cells where the header has {width}"),))
        given = {
            name: row[place] if self.fields[name].is_text else _parsed(name, row[place])
            for name, place in places.items()
            if row[place] or self.fields[name].required
        }
        try:
            text = to_json(given)
        except (PydanticSerializationError, UnicodeError):
            raise InvalidInputError(((0, "not UTF-8: save the file as CSV UTF-8"),)) from None
        if b"\\u0000" in text and any("\0" in cell for cell in given.values() if isinstance(cell, str)):
            raise InvalidInputError(((0, "holds a zero byte"),))
        return text


def _parsed(name: str, cell: str) -> object:
    try:
        return from_json(cell)
    except ValueError:
        raise InvalidInputError(((0, f"{name}: the cell has to hold JSON"),)) from None


def _rows(lines: "_Lines", delimiter: str, problems: Problems) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not empty, with the line on which each begins; a broken one is a problem, as header an error."""
    csv.field_size_limit(MAX_LINE_BYTES)  # of the whole process; its default, 128 KiB, is less than a long ticket
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    has_header = False
    while True:
        lines.begin()
        try:
            row = next(reader)
        except StopIteration:
            return
        except (csv.Error, _TooLongError) as error:
            if not has_header:
                raise UsageError(f"line {lines.begun}, the header: {_reason(error)}") from None
            problems.append((lines.begun, _reason(error)))
            continue
        if any(row):
            has_header = True
            yield lines.begun, row


def _reason(error: Exception) -> str:
    if isinstance(error, _TooLongError):
        return f"longer than {MAX_LINE_BYTES // 1024 // 1024} Mi characters; is a quote not closed?"
    if str(error) == _UNCLOSED:
        return "a quote that opens in this row is not closed"
    return f"not CSV: {error}"


def _delimiter(header: str) -> str:
    bare = _QUOTED.sub("", header)
    return max(DELIMITERS, key=bare.count)


class _TooLongError(Exception):
    """A row is longer than what is kept in memory."""


class _Lines:
    """Lines for the csv module, of which one row takes one or more; ``begun`` is the first line of the present row."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._kept: str | None = None
        self._number = self._size = 0
        self.begun = 1

    def first(self) -> str:
        """The first line, which stays to be read."""
        self._kept = self._text.readline(MAX_LINE_BYTES + 1)
        return self._kept

    def begin(self) -> None:
        """The next line begins a row."""
        self.begun, self._size = self._number + 1, 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._text.readline(MAX_LINE_BYTES + 1) if self._kept is None else self._kept
        self._kept = None
        if not line:
            raise StopIteration
        self._number += 1
        self._size += len(line)
        if self._size > MAX_LINE_BYTES:
            while line and not line.endswith(("\n", "\r")):
                line = self._text.readline(MAX_LINE_BYTES)
            raise _TooLongError
        return line


@contextmanager
def _text(stream: BinaryIO) -> Iterator[TextIO]:
    """The stream as text; bytes that are not UTF-8 become signs that no JSON can carry."""
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
    try:
        yield text
    finally:
        text.detach()  # the stream stays open: it is another's
