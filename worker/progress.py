"""A job under way: what has been done for it under one claim, and where that is written."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar
from uuid import UUID

from config.errors import CallError, InvalidOutputError
from jobs.chat import NO_USAGE, Usage
from jobs.content import content_key
from jobs.records import CallEnd, CallStart, Claim, Earlier, Origin, Release, Room, Settlement, Verdict, Wanted
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

    async def begin(self, start: CallStart) -> Verdict:
        """Records an intent, if the call may be made."""

    async def room(self, batch_id: UUID) -> Room | None:
        """What a batch with a cap may still spend; None if it is paused or has no cap."""

    async def record(self, *entries: LedgerEntry) -> bool:
        """Records entries of one job together; False if the job is no longer ours."""

    async def earlier_result(self, wanted: Wanted) -> Earlier | None:
        """The newest result of the same content, if there is one and it is not too old."""

    async def in_thread(self, function: Callable[[], Result]) -> Result:
        """Runs a function that blocks."""


@dataclass
class Progress:
    """What has been done for a job under this claim; ``calls`` goes on from earlier ones.

    ``retries_from`` counts those of them that the budget of attempts is not for: made before the job was last asked to
    run or at another provider, never sent since the provider was changed at the last moment, or probes of one that was
    known to be ill. ``stopped`` says that somebody asked for the job's end. ``digest`` is that of what is asked of a
    model, and ``reused_from`` the job whose result served. ``waited_s`` is how long the last pause of our own between
    two attempts really was, and ``paused_at`` when the one under way began.
    """

    claim: Claim
    deadline: float
    calls: int
    retries_from: int = 0
    position: int = 0
    fallback_reason: str | None = None
    tried_since: float | None = None
    stopped: bool = False
    waited_s: float = 0.0
    paused_at: float | None = None
    digest: bytes | None = None
    reused_from: UUID | None = None
    usage: Usage = NO_USAGE
    cost_usd: float | None = None
    origin: Origin | None = None
    ended: list[LedgerEntry] = field(default_factory=list)

    @classmethod
    def of(cls, claim: Claim, deadline: float) -> "Progress":
        """Where a job goes on that was claimed just now; ``deadline`` is by ``time.monotonic()``."""
        since = None if claim.tried_s is None else time.monotonic() - claim.tried_s
        reason = claim.fallback_reason if claim.fallback_position else None
        return cls(claim, deadline, claim.attempts, claim.retries_from, claim.fallback_position, reason, since)

    @property
    def attempt(self) -> int:
        """The number of the call under way among those that the budget of attempts is for; from 1."""
        return max(self.calls - self.retries_from, 1)

    @property
    def tried_s(self) -> float:
        """How long the job has been tried for."""
        return 0.0 if self.tried_since is None else time.monotonic() - self.tried_since

    @property
    def provider_id(self) -> str:
        """The provider whose turn it is."""
        return self.claim.provider_id if not self.position else (self.claim.fallbacks or ())[self.position - 1]

    @property
    def model(self) -> str | None:
        """The model that the job names, which is one of its first provider; None takes the provider's default."""
        return None if self.position else self.claim.model

    @property
    def has_fallback(self) -> bool:
        """Whether there is another provider to ask after this one."""
        return self.position < len(self.claim.fallbacks or ())

    def begins(self, call: int) -> None:
        """A call of that number is under way."""
        self.calls = call
        now = time.monotonic()
        if self.tried_since is None:
            self.tried_since = now
        if self.paused_at is not None:
            self.waited_s = now - self.paused_at

    def pauses(self) -> None:
        """The last call has failed, and nobody but us says how long to wait for the next one."""
        self.paused_at = time.monotonic()

    def uncount(self) -> None:
        """The last call does not count as an attempt."""
        self.retries_from += 1

    def move_on(self, error: CallError) -> None:
        """The next provider is asked, with a budget of attempts of its own."""
        self.fallback_reason = self.fallback_reason or f"{error.error_type}: {error}"
        self.position, self.retries_from = self.position + 1, self.calls
        self.waited_s, self.paused_at = 0.0, None

    def begin_again(self) -> None:
        """None of the providers can be asked now: whichever is back first will be."""
        self.fallback_reason = None
        if self.position:
            self.position, self.retries_from = 0, self.calls

    def end(self, end: CallEnd, *, priced: bool) -> None:
        """Takes in what came of a call; ``priced`` says whether the price of such calls is known."""
        self.ended.append(end)
        if end.outcome != "superseded":  # that one was never sent, and the pause goes on
            self.paused_at = None
        if priced:
            self.cost_usd = (self.cost_usd or 0.0) + (end.cost_usd or 0.0)

    def answer_is_invalid(self) -> None:
        """The answer of the last call, which has just come, does not fit the kind's output."""
        last = self.ended[-1]
        assert isinstance(last, CallEnd)  # noqa: S101 - whoever says so has the answer of that call in hand
        self.ended[-1] = replace(last, outcome=InvalidOutputError.__name__)

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
            self.cost_usd,
            self.fallback_reason,
        )

    def _content_key(self, state: str) -> UUID | None:
        """Under which later jobs find a result that was paid for: by the model that answered."""
        if state != "succeeded" or self.digest is None or self.origin is None or self.reused_from:
            return None
        return content_key(self.digest, self.origin.model)

    def release(self, wait_s: float = 0.0) -> Release:
        """Back to the queue."""
        return Release(
            self.claim.job_id,
            self.claim.fence,
            self.calls,
            wait_s,
            self.usage.input_tokens,
            self.usage.output_tokens,
            self.cost_usd,
            self.retries_from,
            self.position,
            self.fallback_reason,
        )
