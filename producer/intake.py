"""Batches from files: read once as a stream, every bad row named before anything is enqueued."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from config.errors import InvalidInputError, UsageError
from jobs.kind import Kind, NewJob
from producer.input_format import MAX_LINE_BYTES, JsonLines, Problems, Rows

__all__ = ["MAX_LINE_BYTES", "Intake", "open_input"]


@dataclass
class Intake:
    """The valid jobs of a file; blank lines are passed over.

    Iterating reads the stream. A row that is not UTF-8, cannot be parsed, does not fit the kind or repeats a name is a
    problem. Unless problems are skipped, the end of the stream raises them all, so that whoever reads the jobs to their
    end before enqueuing any enqueues nothing.

    Args:
        kind: what the inputs are for.
        stream: bytes, read to the end.
        skip_invalid: go on without the bad rows; they stay in ``problems``.
        rows: how the bytes become inputs; lines of JSON by default, see ``producer.input_format``.
    """

    kind: Kind
    stream: BinaryIO
    skip_invalid: bool = False
    rows: Rows = field(default_factory=JsonLines)
    problems: Problems = field(default_factory=list)
    accepted: int = 0

    def __iter__(self) -> Iterator[NewJob]:
        lines_by_name: dict[str, int] = {}
        for number, text in self.rows.read(self.stream, self.problems):
            try:
                job = self._job(number, text, lines_by_name)
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

    def _job(self, number: int, text: bytes, lines_by_name: dict[str, int]) -> NewJob:
        try:
            job = self.kind.accept_json(text)
        except InvalidInputError:
            _check_utf8(text)  # only now: whoever parses JSON refuses other bytes, in words that say less
            raise
        if job.custom_id is None:
            job = replace(job, custom_id=f"line-{number}")
        first = lines_by_name.setdefault(str(job.custom_id), number)
        if first != number:
            raise InvalidInputError(((number, f"repeats the custom_id or id of line {first}"),))
        return job


def _check_utf8(text: bytes) -> None:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInputError(((0, f"not UTF-8 at byte {error.start + 1}"),)) from None


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
