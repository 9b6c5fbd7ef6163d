"""A stream of jobs, kept here until its end: nothing in Postgres is open while it comes, however slowly it does."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import sha256
from struct import Struct
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import Self

from config.errors import UsageError
from jobs.kind import NewJob

MEMORY_BYTES = 8 * 1024 * 1024
"""What is larger goes to a file without a name in the folder for temporary files; it ends with the process."""

_HEAD = Struct("!iI")
"""Bytes of the job's name, -1 without one, and of its input."""


class Spool:
    """The jobs of a batch, read once.

    Args:
        jobs: read to the end; what it raises is passed on.
        memory_bytes: kept in memory, before a file is made.

    Raises:
        UsageError: the folder for temporary files is full or missing.
    """

    def __init__(self, jobs: Iterable[NewJob], memory_bytes: int = MEMORY_BYTES) -> None:
        self.total, digest = 0, sha256()
        self._file: SpooledTemporaryFile[bytes] = SpooledTemporaryFile(memory_bytes)  # noqa: SIM115 - see close
        try:
            for job in jobs:
                name, text = job.custom_id or "", job.input
                digest.update(f"{len(name)}:{name}{len(text)}:{text}".encode())
                self._keep(job)
                self.total += 1
        except BaseException:
            self.close()
            raise
        self.digest = digest.hexdigest()
        """Says whether two batches are of the same jobs."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Forgets the jobs; harmless when repeated."""
        with suppress(OSError):  # of a disk that was full before
            self._file.close()

    def _keep(self, job: NewJob) -> None:
        name = None if job.custom_id is None else job.custom_id.encode()
        text = job.input.encode()
        try:
            self._file.write(_HEAD.pack(-1 if name is None else len(name), len(text)) + (name or b"") + text)
        except OSError as error:
            raise _full(error) from None

    def __iter__(self) -> Iterator[NewJob]:
        """The jobs in order."""
        try:
            self._file.seek(0)  # which writes what is still held
        except OSError as error:
            raise _full(error) from None
        while head := self._file.read(_HEAD.size):
            name_bytes, text_bytes = _HEAD.unpack(head)
            name = None if name_bytes < 0 else self._file.read(name_bytes).decode()
            yield NewJob(self._file.read(text_bytes).decode(), name)


def _full(error: OSError) -> UsageError:
    return UsageError(
        "a batch is kept in the folder for temporary files until it has been read to its end, and there it cannot be "
        f"written: {error.strerror}. TMPDIR names another folder"
    )
