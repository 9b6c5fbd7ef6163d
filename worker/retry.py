"""Whether a failed call is tried again, and when: a pure function of the error, the attempt and the time spent."""

from dataclasses import dataclass

from config.errors import CallError, ProviderAuthError, ProviderUnavailableError
from config.providers import Provider
from jobs.kind import Kind

MAX_RETRY_AFTER_S = 600.0
BULK_PATIENCE = 4
GROWTH = 1.2
"""Each wait is at least so many times the one before: who watches from outside sees it grow."""

MOST_DOUBLINGS = 60
"""By then it is capped; a float holds a thousand of them, and who asks for 2,000 attempts gets that far."""


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how patiently; waits double from ``base_s`` up to ``cap_s``, with jitter: see ``backoff_s``.

    ``total_time_s`` bounds all attempts and waits of a job together: what would begin later is not begun. A call that
    has begun is bounded by its own deadline alone.
    """

    max_attempts: int = 5
    base_s: float = 0.5
    cap_s: float = 30.0
    total_time_s: float = 86400.0


@dataclass(frozen=True)
class Retry:
    """Try again after ``wait_s`` seconds; ``fresh_key`` asks Vault for the key first."""

    wait_s: float
    fresh_key: bool = False


@dataclass(frozen=True)
class GiveUp:
    """The error stands."""


def policy_for(
    default: RetryPolicy, kind: Kind | None, provider: Provider | None, *, is_urgent: bool = True
) -> RetryPolicy:
    """The policy for a kind's jobs at a provider: the stricter of what the two say, the default where neither does.

    Args:
        default: of the process.
        kind: None where this version does not know it.
        provider: None where it was removed; the call will say so.
        is_urgent: somebody waits for the job. A batch has time: its jobs have hardly used up their attempts when it is
            known that a provider is ill as a whole, and wait for it from then on.
    """
    bounds = [bound for bound in (kind, provider) if bound is not None]
    attempts = [bound.max_attempts for bound in bounds if bound.max_attempts is not None]
    times_s = [bound.total_time_s for bound in bounds if bound.total_time_s is not None]
    return RetryPolicy(
        min(attempts, default=default.max_attempts),
        default.base_s * (1 if is_urgent else BULK_PATIENCE),
        default.cap_s,
        min(times_s, default=default.total_time_s),
    )


def decide(
    error: CallError,
    attempt: int,
    policy: RetryPolicy,
    jitter: float,
    *,
    waited_s: float = 0.0,
    tried_s: float = 0.0,
    key_was_fresh: bool = False,
    fail_fast: bool = False,
) -> Retry | GiveUp:
    """What follows a failed attempt; a ``Retry-After`` of the provider is a lower bound and never shortened.

    Args:
        error: why it failed.
        attempt: its number, from 1.
        policy: limits.
        jitter: 0 to 1, drawn by the caller.
        waited_s: how long the job waited for this attempt, where that was up to us.
        tried_s: how long the job has been tried for.
        key_was_fresh: the key had just been read from its source, so a 401 is not a rotation that was missed.
        fail_fast: the job shall not wait for a provider that is left alone.
    """
    decision = _wanted(error, attempt, policy, jitter, waited_s, key_was_fresh, fail_fast)
    late = isinstance(decision, Retry) and tried_s + decision.wait_s > policy.total_time_s
    return GiveUp() if late else decision


def _wanted(
    error: CallError,
    attempt: int,
    policy: RetryPolicy,
    jitter: float,
    waited_s: float,
    key_was_fresh: bool,
    fail_fast: bool,
) -> Retry | GiveUp:
    """What follows, were there time without end."""
    if isinstance(error, ProviderUnavailableError):  # no attempt was made, so none is counted
        return GiveUp() if fail_fast else Retry((error.retry_after_s or 0.0) + jitter)
    if attempt >= policy.max_attempts:
        return GiveUp()
    if isinstance(error, ProviderAuthError):
        return GiveUp() if key_was_fresh else Retry(0.0, fresh_key=True)
    if not error.retryable:
        return GiveUp()
    asked_s = min(error.retry_after_s or 0.0, MAX_RETRY_AFTER_S)
    return Retry(asked_s + backoff_s(attempt, policy, jitter, waited_s))


def backoff_s(attempt: int, policy: RetryPolicy, jitter: float, waited_s: float = 0.0) -> float:
    """How long to wait after a failed attempt: a time from a window that begins above where the one before it ended.

    Full jitter (0 to c) makes the fewest calls of the variants in "Exponential Backoff And Jitter" (AWS, 2015), but a
    quarter of the second waits is shorter than the first; equal jitter (c/2 to c) keeps them apart, but a herd's first
    wait has half the room. So the first wait is drawn with full jitter and each later one above all that came before.

    Args:
        attempt: its number, from 1.
        policy: limits.
        jitter: 0 to 1.
        waited_s: for this attempt; more than was drawn if the job stood in line, or its provider had asked for a pause.
    """
    if attempt == 1:
        return min(policy.cap_s, policy.base_s) * jitter
    longest_before_s = max(policy.base_s * 2.0 ** min(attempt - 2, MOST_DOUBLINGS), waited_s)
    longest_s = min(policy.cap_s, 2 * longest_before_s)
    shortest_s = longest_s * GROWTH / 2
    return shortest_s + (longest_s - shortest_s) * jitter
