"""What a process has room for: places for single jobs, and slices of batches."""

import threading

LARGEST_PARTY = 250
"""Most places for one message: as many as a slice of a batch has jobs, so that no statement has too many rows."""


GATHER_S = 0.1
"""While nearly all places are taken, a message waits so long for more than the one that has become free: were each
taken at once, every job would cost a message, a claim and a settlement of its own again."""


class Places:
    """Counts free places; may be used from any thread.

    Task threads wait here while there are none, and so take no further message: what this process cannot begin is left
    to the others.

    Args:
        count: how many there are.
    """

    def __init__(self, count: int) -> None:
        self._free, self._some = count, max(1, count // 10)
        self._changed = threading.Condition()

    def take(self, timeout_s: float) -> bool:
        """Takes one place; False if there was none in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._free > 0, timeout_s):
                return False
            self._changed.wait_for(lambda: self._free >= self._some, min(GATHER_S, timeout_s))
            if not self._free:
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


class SliceRoom:
    """Counts what is free for slices of batches; may be used from any thread. Nobody waits here.

    Args:
        slices: most of them at once, since each holds a task thread.
        jobs: most jobs in them; a slice alone may have more.
    """

    def __init__(self, slices: int, jobs: int) -> None:
        self._slices, self._jobs, self._used = slices, jobs, 0
        self._lock = threading.Lock()

    def take(self, jobs: int) -> bool:
        """Takes room for a slice; False if there is none."""
        with self._lock:
            if not self._slices or (self._used and self._used + jobs > self._jobs):
                return False
            self._slices -= 1
            self._used += jobs
            return True

    @property
    def free(self) -> int:
        """For how many jobs there is room."""
        with self._lock:
            return max(0, self._jobs - self._used) if self._slices else 0

    def give(self, jobs: int, slices: int = 1) -> None:
        """Gives it back; with ``slices`` 0 that of jobs which have ended while their slice goes on."""
        with self._lock:
            self._slices += slices
            self._used -= jobs


class SliceShare:
    """What one slice has of the room: less with each of its jobs that ends; may be used from any thread.

    Else a few jobs that are tried again and again would keep the room of hundreds.

    Args:
        room: it has been taken there.
        jobs: for so many.
    """

    def __init__(self, room: SliceRoom, jobs: int) -> None:
        self._room, self._jobs = room, jobs
        self._lock = threading.Lock()

    def keep(self, jobs: int) -> None:
        """Gives back what was taken for more jobs than these: there were no more to be had."""
        with self._lock:
            spare = max(0, self._jobs - jobs)
            self._jobs -= spare
        self._room.give(spare, slices=0)

    def give_one(self) -> None:
        """One job has ended."""
        with self._lock:
            if self._jobs:
                self._jobs -= 1
                self._room.give(1, slices=0)

    def give(self) -> None:
        """The slice has ended."""
        with self._lock:
            jobs, self._jobs = self._jobs, 0
        self._room.give(jobs)
