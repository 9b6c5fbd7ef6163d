"""Whether a failed call is tried again, and when: a pure function of the error and the attempt."""

from dataclasses import dataclass

from config.errors import CallError, ProviderAuthError

MAX_RETRY_AFTER_S = 600.0


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how patiently; waits double from ``base_s`` up to ``cap_s``, with full jitter."""

    max_attempts: int = 5
    base_s: float = 0.5
    cap_s: float = 30.0


@dataclass(frozen=True)
class Retry:
    """Try again after ``wait_s`` seconds; ``fresh_key`` asks Vault for the key first."""

    wait_s: float
    fresh_key: bool = False


@dataclass(frozen=True)
class GiveUp:
    """The error stands."""


def decide(
    error: CallError, attempt: int, policy: RetryPolicy, jitter: float, *, key_was_fresh: bool = False
) -> Retry | GiveUp:
    """What follows a failed attempt.

    Full jitter is the one of the variants that AWS measured with the least contention ("Exponential Backoff And
    Jitter", 2015); a ``Retry-After`` of the provider is a lower bound and never shortened.

    Args:
        error: why it failed.
        attempt: its number, from 1.
        policy: limits.
        jitter: 0 to 1, drawn by the caller.
        key_was_fresh: the key had just been read from its source, so a 401 is not a rotation that was missed.
    """
    if attempt >= policy.max_attempts:
        return GiveUp()
    if isinstance(error, ProviderAuthError):
        return GiveUp() if key_was_fresh else Retry(0.0, fresh_key=True)
    if not error.retryable:
        return GiveUp()
    backoff_s = min(policy.cap_s, policy.base_s * 2 ** (attempt - 1)) * jitter
    return Retry(min(error.retry_after_s or 0.0, MAX_RETRY_AFTER_S) + backoff_s)
