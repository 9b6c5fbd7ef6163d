"""A batch's file opened: its format, its compression and its mapping found, its jobs ready to be read."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from jobs.kind import Kind
from producer.input_format import InputFormat, JsonLines, Rows, input_format, unpacked
from producer.intake import Intake, open_input
from producer.mapped_lines import MappedLines
from producer.mapping import fields_of, parse_mapping
from producer.tables import Table


@contextmanager
def open_batch(
    name: str, kind: Kind, given_format: str | None = None, maps: Sequence[str] = (), *, skip_invalid: bool = False
) -> Iterator[Intake]:
    """The jobs of a file, or of standard input for ``-``.

    Args:
        name: of the file.
        kind: what its rows are for.
        given_format: ``jsonl``, ``csv`` or ``tsv``; by the file's name if None.
        maps: texts such as ``subject=Title``.
        skip_invalid: go on without bad rows.

    Raises:
        UsageError: the file cannot be read, or the format or a mapping is none.
    """
    rows = rows_of(input_format(name, given_format), kind, maps)
    with open_input(name) as stream:
        yield Intake(kind, unpacked(stream, name), skip_invalid, rows)


def rows_of(form: InputFormat, kind: Kind, maps: Sequence[str]) -> Rows:
    """How a file of a format is read for a kind; lines of JSON that need no mapping are passed on as they are."""
    if form == "jsonl" and not maps:
        return JsonLines()
    fields = fields_of(kind)
    mapping = parse_mapping(maps, fields)
    if form == "jsonl":
        return MappedLines(fields, mapping)
    return Table(fields, mapping, "\t" if form == "tsv" else None)
