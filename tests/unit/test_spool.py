"""The jobs of a batch, kept until they are all there: what comes out is what went in, or an error that says why."""

from collections.abc import Iterator
from hashlib import sha256

import pytest

from config.errors import UsageError
from jobs.kind import NewJob
from jobs.spool import Spool
from tests.support.full_disk import full_disk

JOBS = [
    NewJob('{"prompt": "größer, bitte\\n"}', "a"), NewJob("{}"), NewJob('{"x": "\\ttab\\\\"}\n', ""),
    NewJob("", "no input"), NewJob("☃" * 1000, "☃"),
]  # fmt: skip


@pytest.mark.parametrize("memory_bytes", [1, 1_000_000])
def test_jobs_come_out_as_they_went_in(memory_bytes: int) -> None:
    """From memory, and from a file."""
    with Spool(iter(JOBS), memory_bytes) as spool:
        assert list(spool) == JOBS
        assert list(spool) == JOBS, "a second time as well"
        assert spool.total == len(JOBS)


def test_the_digest_is_the_one_that_batches_were_stored_with() -> None:
    """A file that was submitted under a name by an earlier version is known to this one."""
    with Spool([NewJob("{}", "a"), NewJob("12")]) as spool:
        assert spool.digest == sha256(b"1:a2:{}" + b"0:2:12").hexdigest()
    with Spool([]) as empty:
        assert (empty.total, list(empty)) == (0, [])


def test_an_error_of_the_stream_is_passed_on() -> None:
    def broken() -> Iterator[NewJob]:
        yield NewJob("{}")
        raise OSError("of the stream itself")

    with pytest.raises(OSError, match="of the stream itself"):
        Spool(broken())


@pytest.mark.parametrize("jobs", [30, 3000])
def test_a_folder_that_is_full_is_told(jobs: int) -> None:
    """While it is written, or when the rest of it is."""
    with (
        full_disk(1000),
        pytest.raises(UsageError, match=r"temporary files .*File too large.*TMPDIR"),
        Spool((NewJob("x" * 100) for _ in range(jobs)), 1) as spool,
    ):
        list(spool)
