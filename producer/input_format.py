"""The formats that batches are read in: lines of JSON and tables as help desks export them, each also compressed."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from typing import BinaryIO, Literal, Protocol, cast, get_args

from config.errors import UsageError

MAX_LINE_BYTES = 32 * 1024 * 1024
"""Longest line of JSON in bytes, and longest row of a table in characters: a bound on memory, not on use."""

InputFormat = Literal["jsonl", "csv", "tsv"]
Problems = list[tuple[int, str]]

_BY_SUFFIX: dict[str, InputFormat] = {".csv": "csv", ".tsv": "tsv"}
_BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
_FOREIGN = {
    b"PK\x03\x04": "is a workbook or a zip archive: export it as CSV or JSON lines",
    b"PAR1": "is a Parquet file: export it as CSV or JSON lines",
    b"\xff\xfe": "is UTF-16: save it as UTF-8 (in Excel: CSV UTF-8)",
    b"\xfe\xff": "is UTF-16: save it as UTF-8 (in Excel: CSV UTF-8)",
}


class Rows(Protocol):
    """How the bytes of a file become inputs."""

    def read(self, stream: BinaryIO, problems: Problems) -> Iterator[tuple[int, bytes]]:
        """The inputs as JSON texts, with the lines (from 1) on which they begin; what cannot be parsed is a problem.

        Raises:
            UsageError: the file as a whole cannot be used, such as one that was cut off.
        """
        ...


@dataclass(frozen=True)
class JsonLines:
    """One input a line, passed on as it is."""

    def read(self, stream: BinaryIO, problems: Problems) -> Iterator[tuple[int, bytes]]:
        """As ``Rows.read``."""
        number = 0
        with reading():
            while line := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    problems.append((number, f"longer than {MAX_LINE_BYTES // 1024 // 1024} MiB"))
                    while line and not line.endswith(b"\n"):
                        line = stream.readline(MAX_LINE_BYTES)
                    continue
                if number == 1:
                    line = line.removeprefix(_BOM)
                if not line.isspace() and line:
                    yield number, line


def input_format(name: str, given: str | None = None) -> InputFormat:
    """The format of a file: as given, else by its name with or without ``.gz``; lines of JSON where that says nothing.

    Raises:
        UsageError: there is no such format.
    """
    if given is None:
        return _BY_SUFFIX.get(PurePath(name.lower().removesuffix(".gz")).suffix, "jsonl")
    if given not in get_args(InputFormat):
        raise UsageError(f"no input format {given!r}: it is one of {', '.join(get_args(InputFormat))}")
    return cast(InputFormat, given)


def unpacked(stream: BinaryIO, name: str) -> BinaryIO:
    """The bytes of a stream that can ``peek``; unzipped as they are read if they begin as gzip does, whatever the name.

    Raises:
        UsageError: they are of a kind that nobody can mean, such as a workbook.
    """
    with reading():
        if _begins(stream, _GZIP):
            stream = cast(BinaryIO, gzip.GzipFile(fileobj=stream, mode="rb"))
        for sign, reason in _FOREIGN.items():
            if _begins(stream, sign):
                raise UsageError(f"{'standard input' if name == '-' else name} {reason}")
    return stream


def _begins(stream: BinaryIO, sign: bytes) -> bool:
    peek = getattr(stream, "peek", None)
    return peek is not None and peek(len(sign))[: len(sign)] == sign


@contextmanager
def reading() -> Iterator[None]:
    """Turns what goes wrong while a stream is read into a UsageError."""
    try:
        yield
    except EOFError:
        raise UsageError("the compressed input ends too early: the file was cut off") from None
    except (gzip.BadGzipFile, zlib.error):
        raise UsageError("the compressed input is damaged") from None
    except OSError as error:
        raise UsageError(f"the input cannot be read: {error.strerror}") from None
