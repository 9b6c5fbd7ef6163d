"""Batches from files: JSON lines, read once as a stream, every bad line named before anything is enqueued."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from config.errors import InvalidInputError, UsageError
from jobs.kind import Kind, NewJob

MAX_LINE_BYTES = 32 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"


@dataclass
class Intake:
    """The valid jobs of a file of JSON lines, one input a line; blank lines are passed over.

    Iterating reads the stream. A line that is not UTF-8, not JSON, does not fit the kind or repeats a name is a
    problem. Unless problems are skipped, the end of the stream raises them all, so that whoever consumes the jobs in a
    transaction enqueues nothing.

    Args:
        kind: what the inputs are for.
        stream: bytes, read to the end.
        skip_invalid: go on without the bad lines; they stay in ``problems``.
    """

    kind: Kind
    stream: BinaryIO
    skip_invalid: bool = False
    problems: list[tuple[int, str]] = field(default_factory=list)
    accepted: int = 0

    def __iter__(self) -> Iterator[NewJob]:
        lines_by_name: dict[str, int] = {}
        for number, line in self._lines():
            try:
                job = self._job(number, line, lines_by_name)
            except InvalidInputError as error:
                self.problems.append((number, error.problems[0][1]))
                continue
            if self.skip_invalid or not self.problems:
                self.accepted += 1
                yield job
        if self.problems and not (self.skip_invalid and self.accepted):
            raise InvalidInputError(tuple(self.problems))
        if not self.accepted:
            raise InvalidInputError(((0, "there is no input in this file"),))

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        number = 0
        while line := self.stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                self.problems.append((number, f"longer than {MAX_LINE_BYTES // 1024 // 1024} MiB"))
                while line and not line.endswith(b"\n"):
                    line = self.stream.readline(MAX_LINE_BYTES)
                continue
            text = line.removeprefix(_BOM) if number == 1 else line
            if text.strip():
                yield number, text

    def _job(self, number: int, line: bytes, lines_by_name: dict[str, int]) -> NewJob:
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidInputError(((number, f"not UTF-8 at byte {error.start + 1}"),)) from None
        job = self.kind.accept_json(text)
        if job.custom_id is None:
            job = replace(job, custom_id=f"line-{number}")
        first = lines_by_name.setdefault(str(job.custom_id), number)
        if first != number:
            raise InvalidInputError(((number, f"repeats the custom_id or id of line {first}"),))
        return job


@contextmanager
def open_input(name: str) -> Iterator[BinaryIO]:
    """A file to read, or standard input for ``-``.

    Raises:
        UsageError: it cannot be read.
    """
    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        with Path(name).open("rb") as stream:
            yield stream
    except OSError as error:
        if error.filename != name and not isinstance(error, IsADirectoryError):
            raise  # not about this file
        raise UsageError(f"{name} cannot be read: {error.strerror}") from None
