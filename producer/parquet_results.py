"""Results as a Parquet file, written in groups of rows so that memory is bounded; needs the extra ``parquet``."""

from collections.abc import Mapping
from typing import Any, BinaryIO

from pydantic_core import to_json

from config.errors import OutputError, UsageError
from jobs.views import Job
from producer.result_formats import cells_of

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError:
    raise UsageError(
        "Parquet needs an extra: pip install 'ticketflow[parquet]', or name a .jsonl or .csv file"
    ) from None

GROUP_ROWS = 10_000
_TYPES = {"string": pa.string(), "integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}


class ParquetWriter:
    """One job a row; a field that is neither text, number, truth value nor a list of such holds JSON.

    Args:
        stream: takes the bytes; it stays open.
        columns: names with their JSON schemas.
        group_rows: rows held in memory before they are written.
    """

    def __init__(self, stream: BinaryIO, columns: Mapping[str, Any], group_rows: int = GROUP_ROWS) -> None:
        self._columns, self._group_rows = columns, group_rows
        self._schema = pa.schema([(name, _type_of(part) or pa.string()) for name, part in columns.items()])
        self._as_json = frozenset(name for name, part in columns.items() if _type_of(part) is None)
        self._file = pq.ParquetWriter(pa.PythonFile(stream, mode="w"), self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []

    def write(self, job: Job) -> None:
        """As ``Writer``."""
        cells = cells_of(job, self._columns)
        for name in self._as_json:
            cells[name] = None if cells[name] is None else to_json(cells[name]).decode()
        self._rows.append(cells)
        if len(self._rows) == self._group_rows:
            self._write_group()

    def flush(self) -> None:
        """Nothing: the file can be read only when its end is written, and small groups would make it large."""

    def close(self) -> None:
        """As ``Writer``."""
        try:
            self._write_group()
            self._file.close()
        finally:
            self._file.is_open = False  # or it tries once more when it is collected

    def _write_group(self) -> None:
        if not self._rows:
            return
        try:
            group = pa.Table.from_pylist(self._rows, self._schema)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            raise OutputError(
                "a result does not fit its kind's output as it is now, and Parquet takes no other: write .jsonl"
            ) from None
        self._file.write_table(group)
        self._rows.clear()


def _type_of(schema: Mapping[str, Any]) -> Any:
    """The type of a column; None where its values are written as JSON."""
    if schema.get("type") == "array":
        of_items = _type_of(schema.get("items", {}))
        return pa.list_(of_items) if of_items is not None else None
    parts = [part for part in schema.get("anyOf", ()) if part != {"type": "null"}]
    return _type_of(parts[0]) if len(parts) == 1 else _TYPES.get(schema.get("type", ""))
