"""Results files: one job a line, written beside the target and moved into place when whole."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from config.errors import OutputError
from jobs.views import Job


def write_results(jobs: Iterable[Job], name: str) -> int:
    """Writes jobs as JSON lines to a file, or to standard output for ``-``, and returns how many.

    Raises:
        OutputError: the folder is missing, not writable, or full.
    """
    if name == "-":
        return _write(jobs, sys.stdout.write)
    with _in_place_of(name) as stream:
        return _write(jobs, stream.write)


def write_text(text: str, name: str) -> None:
    """Writes a text to a file, or to standard output for ``-``; raises OutputError as ``write_results``."""
    if name == "-":
        sys.stdout.write(text)
        return
    with _in_place_of(name) as stream:
        stream.write(text)


@contextmanager
def _in_place_of(name: str) -> Iterator[TextIO]:
    """A file beside the target, moved into its place when the block has ended well."""
    target = Path(name)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        try:
            with part.open("w", encoding="utf-8") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{name} cannot be written: {error.strerror}") from None


def _write(jobs: Iterable[Job], write: Callable[[str], object]) -> int:
    count = 0
    for job in jobs:
        write(job.model_dump_json() + "\n")
        count += 1
    return count
