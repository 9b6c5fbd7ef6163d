"""What passes between a worker and the ledger: claims, intents, ends of calls, settlements, releases."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from jobs.hints import NextJobs


@dataclass(frozen=True)
class Claim:
    """A job in this worker's hands; ``fence`` proves it. The input is JSON text and stays out of ``repr``.

    Args:
        attempts: calls made so far.
        retries_from: those of them that the budget of attempts is not for: made before the job was last asked to run,
            or at another provider.
        fallbacks: providers to ask after the first.
        fallback_position: how many of its providers were given up.
        fallback_reason: why the first was.
        fail_fast: it shall not wait for a provider that is left alone.
        tried_s: since a single job's first claim or a batch job's first call (None before it): what a batch waits for
            its turns is no failure.
        reuse_s: how old a result of an earlier job may be that serves instead of a call; 0 makes the call.
    """

    job_id: UUID
    batch_id: UUID | None
    kind: str
    provider_id: str
    model: str | None
    queue: str
    input: str = field(repr=False)
    fence: int
    attempts: int
    retries_from: int = 0
    reuse_s: float = 0.0
    fallbacks: Sequence[str] | None = None
    fallback_position: int = 0
    fallback_reason: str | None = None
    fail_fast: bool = False
    tried_s: float | None = None


@dataclass(frozen=True)
class Ask:
    """What one message asks for.

    Args:
        job_ids: the jobs that it names.
        provider_id: whose single jobs may come along.
        along: how many of those at most.
        next_jobs: those of a batch that it asks for.
    """

    job_ids: Sequence[UUID]
    provider_id: str
    along: int = 0
    next_jobs: NextJobs | None = None

    @property
    def jobs(self) -> int:
        """How many it asks for, without those that may come along."""
        return len(self.job_ids) + (self.next_jobs.jobs if self.next_jobs else 0)


@dataclass(frozen=True)
class Origin:
    """Where an answer came from: provider, its generation, key version (None without a key), model."""

    provider_id: str
    generation: int
    key_version: int | None
    model: str


@dataclass(frozen=True)
class CallStart:
    """The intent to make one call, with the most that it can cost, in USD (None where no price is known)."""

    job_id: UUID
    fence: int
    attempt: int
    origin: Origin
    cost_usd: float | None = None


Verdict = Literal["begun", "lost", "wait", "paused"]
"""Of an intent: the call may be made; the job is not ours; no money of its batch is free now; or none will be."""


@dataclass(frozen=True)
class Room:
    """What a batch may still spend, in USD: now, and if all of its calls in flight turned out to cost nothing."""

    now_usd: float
    most_usd: float


@dataclass(frozen=True)
class CallEnd:
    """What came of one call: ``succeeded`` or an error's name; the HTTP status where one was seen; its cost."""

    job_id: UUID
    attempt: int
    outcome: str
    status: int | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None


@dataclass(frozen=True)
class Settlement:
    """How a job ended; ``result`` is JSON text, tokens and cost are those of this claim's calls.

    ``content_key`` says what a model answered, for jobs that ask the same later; ``reused_from`` is the job whose
    result this is.
    """

    job_id: UUID
    fence: int
    state: str
    attempts: int
    result: str | None = field(default=None, repr=False)
    error_type: str | None = None
    error_message: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    origin: Origin | None = None
    content_key: UUID | None = None
    reused_from: UUID | None = None
    cost_usd: float | None = None
    fallback_reason: str | None = None


@dataclass(frozen=True)
class Wanted:
    """What a job asks, and how old a result may be to serve it."""

    content_key: UUID
    max_age_s: float


@dataclass(frozen=True)
class Earlier:
    """A result that is there already: the job that it is of, as JSON text, and where it came from."""

    job_id: UUID
    result: str = field(repr=False)
    origin: Origin


@dataclass(frozen=True)
class Release:
    """A claimed job that goes back to the queue, to be run not before ``wait_s`` seconds from now.

    What is None of the last three stays as it is in the ledger; see ``Claim``.
    """

    job_id: UUID
    fence: int
    attempts: int
    wait_s: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    retries_from: int | None = None
    fallback_position: int | None = None
    fallback_reason: str | None = None


Entry = CallEnd | Settlement | Release
