"""The retry decision, by table."""

import pytest

from config import errors
from config.errors import CallError
from worker.retry import GiveUp, Retry, RetryPolicy, decide

POLICY = RetryPolicy(max_attempts=5, base_s=0.5, cap_s=8.0)


def error(cls: type[CallError], retry_after_s: float | None = None) -> CallError:
    return cls("groq", "words", None, retry_after_s)


TRY_AGAIN = (
    errors.ProviderRateLimitedError,
    errors.ProviderServerError,
    errors.ProviderTimeoutError,
    errors.ProviderConnectionError,
    errors.ProviderUnreachableError,
    errors.ProviderReplyError,
)
FINAL = (
    errors.KeyMissingError,
    errors.ProviderDisabledError,
    errors.ProviderRejectedError,
    errors.EgressDeniedError,
    errors.OutputRefusedError,
    errors.OutputTruncatedError,
    errors.InvalidOutputError,
    errors.InputUnreadableError,
    errors.WorkerLostError,
    errors.InternalError,
)


@pytest.mark.parametrize("cls", TRY_AGAIN)
@pytest.mark.parametrize(("attempt", "longest_s"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0)])
def test_backs_off_with_full_jitter(cls: type[CallError], attempt: int, longest_s: float) -> None:
    assert decide(error(cls), attempt, POLICY, 1.0) == Retry(longest_s)
    assert decide(error(cls), attempt, POLICY, 0.0) == Retry(0.0)


@pytest.mark.parametrize("cls", TRY_AGAIN)
def test_the_last_attempt_is_the_last(cls: type[CallError]) -> None:
    assert decide(error(cls), 5, POLICY, 0.5) == GiveUp()


@pytest.mark.parametrize("cls", FINAL)
def test_what_cannot_get_better_is_final(cls: type[CallError]) -> None:
    assert decide(error(cls), 1, POLICY, 0.5) == GiveUp()


def test_every_error_of_a_call_is_decided_here() -> None:
    others = {errors.ProviderAuthError, errors.KeyUnavailableError}
    classes = {each for cls in CallError.__subclasses__() for each in (cls, *cls.__subclasses__())}
    assert classes == set(TRY_AGAIN) | set(FINAL) | others


def test_the_backoff_is_capped() -> None:
    assert decide(error(errors.ProviderServerError), 30, RetryPolicy(99, 0.5, 8.0), 1.0) == Retry(8.0)


@pytest.mark.parametrize(("asked_s", "wait_s"), [(2.0, 2.25), (0.0, 0.25), (9999.0, 600.25)])
def test_retry_after_is_a_lower_bound(asked_s: float, wait_s: float) -> None:
    assert decide(error(errors.ProviderRateLimitedError, asked_s), 1, POLICY, 0.5) == Retry(wait_s)


def test_a_401_asks_for_a_fresh_key_once() -> None:
    refused = error(errors.ProviderAuthError)
    assert decide(refused, 1, POLICY, 0.5) == Retry(0.0, fresh_key=True)
    assert decide(refused, 2, POLICY, 0.5, key_was_fresh=True) == GiveUp()
