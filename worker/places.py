"""What a process has room for: places for single jobs, and slices of batches."""

import threading
from collections import Counter

LARGEST_PARTY = 250
"""Most places for one message: as many as a slice of a batch has jobs, so that no statement has too many rows."""

GATHER_S = 0.1
"""So long more places are waited for once some have become free for jobs whose messages were let go: were each taken at
once, every job would cost a claim and a settlement of its own again."""

SHARE = 9
"""Jobs of one provider may have so many times the places that are free. One that has more than it can do gets nine
tenths of all, two get nine nineteenths each, and some are always left for the next: the thresholds of Choudhury and
Hahne, "Dynamic queue length thresholds for shared-memory packet switches" (1998)."""


class Places:
    """Counts free places; may be used from any thread. Nobody waits here.

    A provider that is slow, or whose limits are narrow, may have thousands of single jobs waiting. Were their messages
    left in the broker, or all places given to them, those of every other provider would wait behind them. So a message
    that finds its provider at its share is let go: its job is in the ledger, and is ``called`` when there is room.

    Args:
        count: how many there are.
    """

    def __init__(self, count: int) -> None:
        self._free, self._some = count, max(1, count // 10)
        self._used = Counter[str]()
        self._let_go = set[str]()
        self._lock = threading.Lock()

    def take(self, provider_id: str) -> bool:
        """Takes one place; False where the provider has its share, or so nearly that it waits for some at once."""
        with self._lock:
            if self._is_full(provider_id):
                self._let_go.add(provider_id)
                return False
            self._move(provider_id, 1)
            return True

    def take_more(self, provider_id: str) -> int:
        """Takes up to half of the room, so that the next message finds some, and says how much."""
        with self._lock:
            taken = min(self._room(provider_id) // 2, LARGEST_PARTY)
            self._move(provider_id, taken)
            return taken

    def give(self, provider_id: str, places: int) -> None:
        """Gives places back."""
        with self._lock:
            self._move(provider_id, -places)

    def let_go(self, provider_id: str) -> None:
        """More jobs of the provider wait in the ledger than were taken."""
        with self._lock:
            self._let_go.add(provider_id)

    def pause_s(self) -> float | None:
        """How long to wait for more places before somebody is ``called``; None where nobody was let go or has room."""
        with self._lock:
            if not any(self._room(provider_id) for provider_id in self._let_go):
                return None
            return GATHER_S if all(self._is_full(provider_id) for provider_id in self._let_go) else 0.0

    def called(self) -> list[str]:
        """Providers with room for jobs whose messages were let go; each gets one place, and is not called again."""
        with self._lock:
            called = []
            for provider_id in sorted(self._let_go, key=self._used.__getitem__):
                if self._room(provider_id):
                    self._move(provider_id, 1)
                    called.append(provider_id)
            self._let_go.difference_update(called)
            return called

    @property
    def full(self) -> list[str]:
        """Providers whose messages are let go at the moment."""
        with self._lock:
            return [provider_id for provider_id in self._used if self._is_full(provider_id)]

    def _is_full(self, provider_id: str) -> bool:
        room = self._room(provider_id)
        return not room or (room < self._some <= self._used[provider_id])

    def _room(self, provider_id: str) -> int:
        """Places that it may have besides: before the last of them is taken it has less than its share."""
        return max(0, -((self._used[provider_id] - SHARE * self._free) // (SHARE + 1)))

    def _move(self, provider_id: str, places: int) -> None:
        self._free -= places
        self._used[provider_id] += places
        if not self._used[provider_id]:
            del self._used[provider_id]  # names come in messages, which anybody may have sent


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
