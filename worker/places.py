"""The places for single jobs in a process: a message takes one, and more for jobs that come along with it."""

import threading

LARGEST_PARTY = 250
"""Most places for one message: as many as a slice of a batch has jobs, so that no statement has too many rows."""


class Places:
    """Counts free places; may be used from any thread.

    Task threads wait here while there are none, and so take no further message: what this process cannot begin is left
    to the others.

    Args:
        count: how many there are.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._changed = threading.Condition()

    def take(self, timeout_s: float) -> bool:
        """Takes one place; False if there was none in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._free > 0, timeout_s):
                return False
            self._free -= 1
            return True

    def take_more(self) -> int:
        """Takes up to half of what is free, so that the next message finds some, and says how many."""
        with self._changed:
            taken = max(0, min(self._free // 2, LARGEST_PARTY))
            self._free -= taken
            return taken

    def give(self, places: int) -> None:
        """Gives places back."""
        with self._changed:
            self._free += places
            self._changed.notify_all()
