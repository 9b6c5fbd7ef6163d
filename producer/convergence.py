"""Whether every worker process holds a generation of the registry yet: each says so itself, the moment it does."""

import time
from dataclasses import dataclass

from config.presence import Presence, PresenceBoard

POLL_S = 0.01


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
        names = ", ".join(f"{p.host}:{p.pid} (generation {p.generation})" for p in self.behind)
        return f"{text}; behind: {names}"


def wait_for_generation(board: PresenceBoard, generation: int, timeout_s: float) -> Convergence:
    """Waits until every living worker process holds a generation, at most ``timeout_s`` seconds.

    Raises:
        ServiceUnavailableError: Redis is away.
    """
    started = time.monotonic()
    while True:
        living = board.living()
        elapsed_s = time.monotonic() - started
        behind = tuple(p for p in living if p.generation < generation)
        if not behind or elapsed_s >= timeout_s:
            current = tuple(p for p in living if p.generation >= generation)
            return Convergence(generation, current, behind, None if behind else round(elapsed_s * 1000))
        time.sleep(POLL_S)
