"""Whether every worker process holds a generation of the registry yet: each says so itself, the moment it does."""

import time
from dataclasses import dataclass

from config.presence import Presence, PresenceBoard
from jobs.ledger import Ledger

POLL_S = 0.01
NOT_SEEN = -1


@dataclass(frozen=True)
class Convergence:
    """How far a change has come.

    Args:
        generation: what was waited for.
        current: worker processes that hold it, or a newer one.
        behind: those that do not.
        slowest_ms: from the start of the wait until the last one held it; None while any is behind.
    """

    generation: int
    current: tuple[Presence, ...]
    behind: tuple[Presence, ...]
    slowest_ms: int | None

    @property
    def document(self) -> dict[str, object]:
        """For ``--json``."""
        behind = [{"host": p.host, "pid": p.pid, "generation": p.generation} for p in self.behind]
        total = len(self.current) + len(self.behind)
        return {"total": total, "current": len(self.current), "slowest_ms": self.slowest_ms, "behind": behind}

    def __str__(self) -> str:
        total = len(self.current) + len(self.behind)
        if not total:
            return "no worker process is running; each reads the registry when it starts"
        text = f"{len(self.current)} of {total} worker processes on generation {self.generation}"
        if not self.behind:
            return f"{text}, slowest {self.slowest_ms} ms"
        names = ", ".join(f"{p.host}:{p.pid} ({_seen(p)})" for p in self.behind)
        return f"{text}; behind: {names}"


def wait_for_generation(board: PresenceBoard, ledger: Ledger, generation: int, timeout_s: float) -> Convergence:
    """Waits until every living worker process holds a generation, at most ``timeout_s`` seconds.

    Redis alone does not know who lives: emptied, it knows nobody for a second. So a process that Postgres holds a
    lease for and that does not show itself is waited for as well; one that was killed keeps its lease for a while.

    Args:
        board: where processes show what they hold.
        ledger: where they have their leases.
        generation: what is waited for.
        timeout_s: patience; 0 looks once.

    Raises:
        ServiceUnavailableError: Redis or Postgres is away.
    """
    started = time.monotonic()
    while True:
        living = board.living()
        behind = [p for p in living if p.generation < generation]
        if not behind:
            shown = {p.worker_id for p in living}
            behind = [_silent(worker_id) for worker_id in ledger.leased_workers() if worker_id not in shown]
        elapsed_s = time.monotonic() - started
        if not behind or elapsed_s >= timeout_s:
            current = tuple(p for p in living if p.generation >= generation)
            return Convergence(generation, current, tuple(behind), None if behind else round(elapsed_s * 1000))
        time.sleep(POLL_S)


def _silent(worker_id: str) -> Presence:
    host, pid, _ = worker_id.rsplit(":", 2)
    return Presence(worker_id, host, int(pid), (), NOT_SEEN, 0, 0)


def _seen(presence: Presence) -> str:
    return "not seen" if presence.generation == NOT_SEEN else f"generation {presence.generation}"
