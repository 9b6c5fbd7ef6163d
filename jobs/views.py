"""Jobs and batches as they are shown, printed with ``--json`` and written to results files."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
BatchState = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
PauseReason = Literal["max-cost", "no-price"]
DONE: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})


class _View(BaseModel):
    model_config = ConfigDict(frozen=True)


class JobError(_View):
    """Why a job ended without a result; never quotes its content."""

    type: str
    message: str


class TokenUsage(_View):
    """Tokens over all calls of a job."""

    input_tokens: int
    output_tokens: int


class Job(_View):
    """One job; times are UTC, ``duration_ms`` runs from its first claim to its end.

    ``reused_from`` is the job whose result this is. ``superseded_by`` is the job of a newer revision; ``stale`` says
    that this one ran when that came.
    ``answered_by`` is the provider that gave the result, ``fallback_reason`` why the first one did not.
    ``next_attempt_at`` is set while the job waits in the queue for longer than its turn: a retry, or a provider that is
    left alone.
    """

    job_id: str
    custom_id: str | None
    batch_id: str | None
    kind: str
    provider_id: str
    fallbacks: tuple[str, ...] = ()
    model: str | None
    state: JobState
    result: dict[str, Any] | None
    error: JobError | None
    usage: TokenUsage
    answered_by: str | None = None
    fallback_reason: str | None = None
    provider_generation: int | None
    key_version: int | None
    attempts: int
    reused_from: str | None = None
    revision: int | None = None
    stale: bool = False
    superseded_by: str | None = None
    next_attempt_at: datetime | None = None
    created_at: datetime
    finished_at: datetime | None
    duration_ms: int | None

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self.state in DONE


class Call(_View):
    """One call to a provider on behalf of a job; ``outcome`` is an error's name or null while it is in flight.

    ``wait_ms`` is the time since the end of the call before it: backoff, ``Retry-After``, limits, the queue.
    ``cost_usd`` is what it cost, or the most that it can have cost where nobody knows; null where no price was known.
    """

    attempt: int
    provider_id: str
    provider_generation: int
    key_version: int | None
    model: str
    outcome: str | None
    status: int | None
    wait_ms: int | None = None
    usage: TokenUsage
    cost_usd: float | None
    started_at: datetime
    finished_at: datetime | None
    duration_ms: int | None


class Batch(_View):
    """One batch, from its counters; failed if it ended with any failed job. ``reused`` are some of ``succeeded``.

    ``cost_usd`` is that of all calls of jobs which nobody has in hand; null while none was made at a known price.
    """

    batch_id: str
    name: str | None
    kind: str
    provider_id: str
    model: str | None = None
    state: BatchState
    total: int
    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    reused: int = 0
    input_tokens: int
    output_tokens: int
    cost_usd: float | None = None
    max_cost_usd: float | None = None
    pause_reason: PauseReason | None = None
    created_at: datetime
    finished_at: datetime | None

    @property
    def done(self) -> bool:
        """Whether every job has ended."""
        return self.finished_at is not None

    @property
    def spent_words(self) -> str:
        """What was spent of what may be."""
        return f"{self.cost_usd or 0:.4f} of at most {self.max_cost_usd or 0:.4f} USD are spent"

    @property
    def pause(self) -> str | None:
        """Why the batch waits for somebody's word, and which; None where it does not, or where a person paused it."""
        if self.state != "paused" or self.pause_reason is None:
            return None
        if self.pause_reason == "no-price":
            return (
                "it has a cap, and no price of the model is known any more: state it with the models of the provider "
                f"(docs/providers.md), then `ticketflow batch resume {self.batch_id}` lets it go on"
            )
        more = f"`ticketflow batch resume {self.batch_id} --max-cost USD`"
        return f"{self.spent_words}, and the next call might pass that: {more} with more lets it go on"


def _milliseconds(start: datetime | None, end: datetime | None) -> int | None:
    return round((end - start).total_seconds() * 1000) if start and end else None


def _text(identity: UUID | None) -> str | None:
    return str(identity) if identity else None


def job_of(row: dict[str, Any]) -> Job:
    """A job from its row of the ledger."""
    return Job(
        job_id=str(row["id"]),
        custom_id=row["custom_id"],
        batch_id=_text(row["batch_id"]),
        kind=row["kind"],
        provider_id=row["provider_id"],
        model=row["model"],
        state=row["state"],
        result=row["result"],
        error=JobError(type=row["error_type"], message=row["error_message"] or "") if row["error_type"] else None,
        usage=TokenUsage(input_tokens=row["input_tokens"], output_tokens=row["output_tokens"]),
        fallbacks=tuple(row["fallbacks"] or ()),
        answered_by=row["answered_by"] if row["state"] == "succeeded" else None,
        fallback_reason=row["fallback_reason"],
        provider_generation=row["provider_generation"],
        key_version=row["key_version"],
        attempts=row["attempts"],
        reused_from=_text(row["reused_from"]),
        revision=row["revision"],
        stale=row["stale"],
        superseded_by=_text(row["superseded_by"]),
        next_attempt_at=row["not_before"] if row["state"] == "queued" else None,
        created_at=row["created_at"],
        finished_at=row["finished_at"],
        duration_ms=_milliseconds(row["started_at"], row["finished_at"]),
    )


def call_of(row: dict[str, Any]) -> Call:
    """A call from its row of the ledger."""
    usage = TokenUsage(input_tokens=row["input_tokens"], output_tokens=row["output_tokens"])
    fields = {key: row[key] for key in Call.model_fields if key in row}
    return Call(**fields, usage=usage, duration_ms=_milliseconds(row["started_at"], row["finished_at"]))


def batch_of(row: dict[str, Any]) -> Batch:
    """A batch from its row of the ledger; its state follows from the counters."""
    ended = row["succeeded"] + row["failed"] + row["cancelled"]
    fields = {key: row[key] for key in Batch.model_fields if key in row}
    return Batch(
        **fields,
        batch_id=str(row["id"]),
        state=_state(row, ended),
        queued=row["total"] - ended - row["running"],
    )


def _state(row: dict[str, Any], ended: int) -> BatchState:
    if row["finished_at"] is None and row["paused"]:
        return "paused"
    if row["finished_at"] is None:
        return "running" if row["running"] or ended else "queued"
    if row["failed"]:
        return "failed"
    return "cancelled" if row["cancelled"] else "succeeded"
