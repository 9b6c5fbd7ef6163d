"""Whether a failed call is tried again, and when: a pure function of the error, the attempt and the time spent."""

from dataclasses import dataclass

from config.errors import CallError, ProviderAuthError, ProviderUnavailableError
from config.providers import Provider
from jobs.kind import Kind

MAX_RETRY_AFTER_S = 600.0
BULK_PATIENCE = 4


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how patiently; waits double from ``base_s`` up to ``cap_s``, with full jitter.

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
    tried_s: float = 0.0,
    key_was_fresh: bool = False,
    fail_fast: bool = False,
) -> Retry | GiveUp:
    """What follows a failed attempt.

    Full jitter is the one of the variants that AWS measured with the least contention ("Exponential Backoff And
    Jitter", 2015); a ``Retry-After`` of the provider is a lower bound and never shortened.

    Args:
        error: why it failed.
        attempt: its number, from 1.
        policy: limits.
        jitter: 0 to 1, drawn by the caller.
        tried_s: how long the job has been tried for.
        key_was_fresh: the key had just been read from its source, so a 401 is not a rotation that was missed.
        fail_fast: the job shall not wait for a provider that is left alone.
    """
    decision = _wanted(error, attempt, policy, jitter, key_was_fresh, fail_fast)
    late = isinstance(decision, Retry) and tried_s + decision.wait_s > policy.total_time_s
    return GiveUp() if late else decision


def _wanted(
    error: CallError, attempt: int, policy: RetryPolicy, jitter: float, key_was_fresh: bool, fail_fast: bool
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
    backoff_s = min(policy.cap_s, policy.base_s * 2 ** (attempt - 1)) * jitter
    return Retry(min(error.retry_after_s or 0.0, MAX_RETRY_AFTER_S) + backoff_s)
