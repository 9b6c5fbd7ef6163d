"""Results files: they grow beside the target as ``FILE.part`` and are moved into its place when they are whole."""

import fcntl
import gzip
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from config.errors import OutputError
from jobs.views import Job
from producer.result_formats import Writer, output_format, writer_for

STDOUT = "-"


class Results:
    """Takes jobs for a results file; made by ``open_results``. ``written`` counts them.

    Every method raises OutputError if the place is full, gone or closed.
    """

    def __init__(self, target: "_Target", writer: Writer, zipped: gzip.GzipFile | None) -> None:
        self._target, self._writer, self._zipped = target, writer, zipped
        self._closed = False
        self.written = 0

    def write(self, jobs: Iterable[Job]) -> None:
        """Adds jobs."""
        with self._target.used():
            for job in jobs:
                self._writer.write(job)
                self.written += 1
                self._target.keep = True

    def flush(self) -> None:
        """Lets whoever looks at the unfinished file see what was written; Parquet shows nothing before its end."""
        with self._target.used():
            self._writer.flush()

    def close(self) -> None:
        """Writes what is still held; harmless when repeated."""
        if self._closed:
            return
        self._closed = True
        with self._target.used():
            self._writer.close()
            if self._zipped:
                self._zipped.close()
            self._target.stream.flush()


@contextmanager
def open_results(name: str, kind: str, given_format: str | None = None) -> Iterator[Results]:
    """A place for jobs: a file that appears when the block has ended well, or standard output for ``-``.

    Until then ``FILE.part`` grows beside it, and what was there as ``FILE`` is untouched. Where the block ends before,
    say by Ctrl-C, the part stays if jobs were written to it, until the same file is written again; if writing failed it
    is removed.
    A device or a named pipe is written to as it is.

    Args:
        name: of the file; says the format, and with ``.gz`` that text is to be compressed.
        kind: of the jobs.
        given_format: ``jsonl``, ``csv``, ``tsv`` or ``parquet``, where the name does not say it.

    Raises:
        UsageError: there is no such format, or it needs an extra that is not installed.
        OutputError: the folder is missing, not writable or full, or another process writes the same file.
    """
    form = output_format(name, given_format)
    with _opened(name) as target:
        with target.used():
            zipped = gzip.GzipFile("", "wb", fileobj=target.stream, mtime=0) if form.zipped else None
            writer = writer_for(form.name, cast(BinaryIO, zipped) if zipped else target.stream, kind)
        results = Results(target, writer, zipped)
        try:
            yield results
            results.close()
        finally:
            with suppress(OutputError):  # whatever ended the block: what is there becomes a file that can be read
                results.close()


def write_text(text: str, name: str) -> None:
    """Writes a text to a file, or to standard output for ``-``; raises OutputError as ``open_results``."""
    with _opened(name) as target, target.used():
        target.stream.write(text.encode())


@dataclass
class _Target:
    """Where bytes go; ``keep`` says whether an unfinished file is worth keeping."""

    name: str
    stream: BinaryIO
    keep: bool = False

    @contextmanager
    def used(self) -> Iterator[None]:
        """Translates what goes wrong with it."""
        try:
            yield
        except OSError as error:
            self.keep = False
            raise _error(self.name, error) from None
        except OutputError:
            self.keep = False
            raise


def _error(name: str, error: OSError) -> OutputError:
    where = "standard output" if name == STDOUT else name
    return OutputError(f"{where} cannot be written: {error.strerror or type(error).__name__}")


def _opened(name: str) -> AbstractContextManager[_Target]:
    if name == STDOUT:
        return _standard_output()
    path = Path(os.path.realpath(name))
    return _as_it_is(name, path) if path.exists() and not path.is_file() else _in_place_of(name, path)


@contextmanager
def _in_place_of(name: str, path: Path) -> Iterator[_Target]:
    """A file beside the target, moved into its place when the block has ended well."""
    part = path.with_name(f"{path.name}.part")
    try:
        target = _Target(name, _locked(part))
    except OSError as error:
        raise _error(name, error) from None
    try:
        yield target
        with target.used():
            target.stream.flush()
            os.fsync(target.stream.fileno())
            part.replace(path)
    except BaseException:
        if not target.keep:
            part.unlink(missing_ok=True)
        raise
    finally:
        _close(target.stream)


@contextmanager
def _as_it_is(name: str, path: Path) -> Iterator[_Target]:
    """A device or a named pipe."""
    try:
        target = _Target(name, path.open("wb"))
    except OSError as error:
        raise _error(name, error) from None
    try:
        yield target
        with target.used():
            target.stream.flush()
    finally:
        _close(target.stream)


@contextmanager
def _standard_output() -> Iterator[_Target]:
    target = _Target(STDOUT, sys.stdout.buffer)
    try:
        yield target
        with target.used():
            target.stream.flush()
    except OutputError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python stumbles over the closed pipe once more at its end
        raise


def _locked(part: Path) -> BinaryIO:
    """The file that grows, emptied; one process at a time has it."""
    while True:
        stream = part.open("ab")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if part.exists() and os.path.samestat(os.fstat(stream.fileno()), part.stat()):
                stream.truncate(0)
                return stream
        except BlockingIOError:
            stream.close()
            raise OutputError(f"{part} is being written by another process: name another file") from None
        except BaseException:
            stream.close()
            raise
        stream.close()  # its writer finished between our opening and locking it: that file is no longer ours to touch


def _close(stream: BinaryIO) -> None:
    try:
        stream.close()
    except OSError:
        stream.close()  # what could not be written was reported, and is dropped
