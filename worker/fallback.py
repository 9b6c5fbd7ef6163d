"""Whether another provider is asked in place of one that gave no answer: pure, by table."""

from config.errors import (
    CallError,
    EgressDeniedError,
    KeyMissingError,
    ProviderAuthError,
    ProviderConnectionError,
    ProviderDisabledError,
    ProviderRateLimitedError,
    ProviderRejectedError,
    ProviderReplyError,
    ProviderServerError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from worker.retry import GiveUp, Retry

HELPED: tuple[type[CallError], ...] = (
    EgressDeniedError,
    KeyMissingError,
    ProviderAuthError,
    ProviderConnectionError,
    ProviderDisabledError,
    ProviderRateLimitedError,
    ProviderRejectedError,
    ProviderReplyError,
    ProviderServerError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
"""Errors of a provider. The others are ours, or the job's own: an input, an answer that does not fit its kind, one that
was declined (whoever wants elsewhere what one provider refused should say so)."""

OF_THE_REQUEST = frozenset({400, 413, 414, 415, 422})
"""Refusals of what was asked; others (402 no money, 403 no right, 404 no such model) are between a provider and us."""

PATIENCE_S = 5.0
"""A single job with another provider to ask does not wait longer than this for one of them."""


def helps(error: CallError) -> bool:
    """Whether another provider could answer what this one did not."""
    return isinstance(error, HELPED) and not (
        isinstance(error, ProviderRejectedError) and error.status in OF_THE_REQUEST
    )


def moves_on(error: CallError, decision: Retry | GiveUp, *, is_urgent: bool) -> bool:
    """Whether a job that names another provider goes there now.

    Args:
        error: why there is no answer.
        decision: what the retry policy says.
        is_urgent: somebody waits for this job; a batch has time, and stays while there is hope.
    """
    if not helps(error):
        return False
    if isinstance(decision, GiveUp) or isinstance(error, ProviderUnavailableError):
        return True
    return is_urgent and decision.wait_s > PATIENCE_S
