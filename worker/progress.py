"""A job under way: what has been done for it under one claim, and where that is written."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar
from uuid import UUID

from config.errors import CallError
from jobs.chat import Usage
from jobs.content import content_key
from jobs.records import CallStart, Claim, Earlier, Origin, Release, Settlement, Wanted
from jobs.records import Entry as LedgerEntry

Result = TypeVar("Result")


class YieldError(Exception):
    """The job goes back before its next call: its slice's time is up, the process stops, or its turn is too far off.

    Args:
        wait_s: how long it should stay in the queue.
    """

    def __init__(self, wait_s: float = 0.0) -> None:
        super().__init__(wait_s)
        self.wait_s = wait_s


class Books(Protocol):
    """Where a runner writes: intents before calls, and what came of them; both wait while Postgres is away."""

    async def begin(self, start: CallStart) -> bool:
        """Records an intent; False if the job is no longer ours."""

    async def record(self, *entries: LedgerEntry) -> bool:
        """Records entries of one job together; False if the job is no longer ours."""

    async def earlier_result(self, wanted: Wanted) -> Earlier | None:
        """The newest result of the same content, if there is one and it is not too old."""

    async def in_thread(self, function: Callable[[], Result]) -> Result:
        """Runs a function that blocks."""


@dataclass
class Progress:
    """What has been done for a job under this claim; ``calls`` goes on from earlier ones.

    ``superseded`` counts those of them that were never sent, since the provider was changed at the last moment;
    ``stopped`` says that somebody asked for the job's end. ``digest`` is that of what is asked of a model, and
    ``reused_from`` the job whose result served.
    """

    claim: Claim
    deadline: float
    calls: int
    superseded: int = 0
    stopped: bool = False
    digest: bytes | None = None
    reused_from: UUID | None = None
    usage: Usage = field(default_factory=Usage)
    origin: Origin | None = None
    ended: list[LedgerEntry] = field(default_factory=list)

    @property
    def attempt(self) -> int:
        """The number of the call under way among those that the budget of attempts is for; from 1."""
        return max(self.calls - self.superseded - self.claim.retries_from, 1)

    def settlement(self, state: str, result: str | None = None, error: CallError | None = None) -> Settlement:
        """The job's end."""
        return Settlement(
            self.claim.job_id,
            self.claim.fence,
            state,
            self.calls,
            result,
            error.error_type if error else None,
            str(error) if error else None,
            self.usage.input_tokens,
            self.usage.output_tokens,
            self.origin,
            self._content_key(state),
            self.reused_from,
        )

    def _content_key(self, state: str) -> UUID | None:
        """Under which later jobs find a result that was paid for: by the model that answered."""
        if state != "succeeded" or self.digest is None or self.origin is None or self.reused_from:
            return None
        return content_key(self.digest, self.origin.model)

    def release(self, wait_s: float = 0.0) -> Release:
        """Back to the queue."""
        used = self.usage
        return Release(self.claim.job_id, self.claim.fence, self.calls, wait_s, used.input_tokens, used.output_tokens)
