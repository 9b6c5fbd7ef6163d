"""Waiting for programs of the bench, with a deadline; and what it is when a run fails."""

import time
from collections.abc import Callable, Sequence

from config.errors import TicketflowError
from embedded.process import ChildProcess

TIMEOUT_S = 600.0


class RunFailedError(TicketflowError):
    """A run did not go as it should, so that it says nothing; the others may."""


def all_running(processes: Sequence[ChildProcess]) -> Callable[[], bool]:
    """A look whether none of the processes has ended."""
    return lambda: all(process.status() is None for process in processes)


def wait_done(process: ChildProcess, timeout_s: float = TIMEOUT_S) -> None:
    """Waits until a program has done its work.

    Raises:
        StartFailedError: it failed, or takes too long.
    """
    status = process.wait(time.monotonic() + timeout_s)
    if status != 0:
        raise process.failure("bench", f"it ended with status {status}")
