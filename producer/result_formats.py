"""The formats that results are written in: lines of JSON with all of a job, and tables for other tools."""

import csv
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, BinaryIO, Literal, Protocol, cast, get_args

from config.errors import UsageError
from jobs.kinds import kind_named
from jobs.views import Job

OutputFormat = Literal["jsonl", "csv", "tsv", "parquet"]

_BY_SUFFIX: dict[str, OutputFormat] = {".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
_WORKBOOKS = frozenset({".xlsx", ".xls", ".ods"})
_BEFORE = ("custom_id", "job_id", "state")
_AFTER = ("error_type", "error_message", "provider_id", "model", "input_tokens", "output_tokens", "reused_from")
_NUMBERS = frozenset({"input_tokens", "output_tokens"})

_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n", "\0")
"""A spreadsheet may run a cell that begins so: OWASP ASVS 5.0, 1.2.10, and line breaks."""
_NUMBER = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?")


class Writer(Protocol):
    """Writes jobs to a stream that belongs to another."""

    def write(self, job: Job) -> None:
        """Adds a job."""
        ...

    def flush(self) -> None:
        """Hands over what can be handed over before the end."""
        ...

    def close(self) -> None:
        """Hands over the rest; the stream stays open."""
        ...


@dataclass(frozen=True)
class Form:
    """A format, and whether its text is compressed with gzip."""

    name: OutputFormat
    zipped: bool = False


def output_format(name: str, given: str | None = None) -> Form:
    """The format of a results file: as given, else by its name; lines of JSON where that says nothing.

    Raises:
        UsageError: there is no such format, or it cannot be written.
    """
    bare = name.lower().removesuffix(".gz")
    zipped = bare != name.lower()
    suffix = PurePath(bare).suffix
    form = given or _BY_SUFFIX.get(suffix, "jsonl")
    if form not in get_args(OutputFormat):
        raise UsageError(f"no output format {form!r}: it is one of {', '.join(get_args(OutputFormat))}")
    if suffix in _WORKBOOKS:
        raise UsageError(f"workbooks ({suffix}) are not written: name a .csv file, which spreadsheets open")
    if zipped and form == "parquet":
        raise UsageError("Parquet is compressed already: leave out the .gz")
    return Form(cast(OutputFormat, form), zipped)


def writer_for(form: OutputFormat, stream: BinaryIO, kind: str) -> Writer:
    """A writer for jobs of a kind.

    Raises:
        UsageError: the format needs an extra that is not installed.
        UnknownNameError: a table needs the kind's fields, and there is no such kind.
    """
    if form == "jsonl":
        return JsonLinesWriter(stream)
    if form == "parquet":
        from producer.parquet_results import ParquetWriter  # needs an extra, and a quarter of a second to load

        return ParquetWriter(stream, columns_of(kind))
    return TableWriter(stream, columns_of(kind), "\t" if form == "tsv" else ",")


def columns_of(kind: str) -> dict[str, dict[str, Any]]:
    """The columns of a table, with the JSON schema of each: names and state, the output, error, origin, tokens, reuse.

    A field of the output that is named like one of the others is called ``result_`` and its name.
    """
    schema = kind_named(kind).output.model_json_schema()
    fixed = {name: {"type": "integer" if name in _NUMBERS else "string"} for name in (*_BEFORE, *_AFTER)}
    fields = {(f"result_{name}" if name in fixed else name): part for name, part in schema["properties"].items()}
    return {name: fixed[name] for name in _BEFORE} | fields | {name: fixed[name] for name in _AFTER}


def cells_of(job: Job, columns: Mapping[str, Any]) -> dict[str, Any]:
    """A job's values by column; None where it has none, such as the output of one that failed."""
    result = job.result or {}
    own = {
        "custom_id": job.custom_id,
        "job_id": job.job_id,
        "state": job.state,
        "error_type": job.error.type if job.error else None,
        "error_message": job.error.message if job.error else None,
        "provider_id": job.provider_id,
        "model": job.model,
        "input_tokens": job.usage.input_tokens,
        "output_tokens": job.usage.output_tokens,
        "reused_from": job.reused_from,
    }
    return {name: own[name] if name in own else result.get(name.removeprefix("result_"), None) for name in columns}


class JsonLinesWriter:
    """One job a line, as ``jobs.views.Job``."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, job: Job) -> None:
        """As ``Writer``."""
        self._stream.write(job.model_dump_json().encode() + b"\n")

    def flush(self) -> None:
        """As ``Writer``."""
        self._stream.flush()

    def close(self) -> None:
        """As ``Writer``."""


class TableWriter:
    """CSV or TSV in UTF-8, one job a row under a header; no cell of text is a formula to a spreadsheet."""

    def __init__(self, stream: BinaryIO, columns: Mapping[str, Any], delimiter: str) -> None:
        self._columns = columns
        self._text = io.TextIOWrapper(stream, "utf-8", errors="replace", newline="")
        self._rows = csv.writer(self._text, delimiter=delimiter, lineterminator="\n")
        self._rows.writerow(columns)

    def write(self, job: Job) -> None:
        """As ``Writer``."""
        self._rows.writerow([cell_of(value) for value in cells_of(job, self._columns).values()])

    def flush(self) -> None:
        """As ``Writer``."""
        self._text.flush()

    def close(self) -> None:
        """As ``Writer``."""
        self._text.flush()
        self._text.detach()


def cell_of(value: Any) -> Any:
    """A value as a cell: text guarded by an apostrophe if it begins as formulas do, numbers as they are, else JSON."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if text.startswith(_FORMULA_SIGNS) and not _NUMBER.fullmatch(text) else text
