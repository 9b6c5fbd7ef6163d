"""The retry decision, by table."""

import pytest

from config import errors
from config.errors import CallError
from config.providers import Provider, builtin_providers
from jobs.kind import Kind
from jobs.kinds import KINDS
from worker.retry import GiveUp, Retry, RetryPolicy, decide, policy_for

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
    others = {errors.ProviderAuthError, errors.KeyUnavailableError, errors.ProviderUnavailableError}
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


@pytest.mark.parametrize(
    ("tried_s", "asked_s", "decision"),
    [
        (0.0, None, Retry(0.5)),
        (59.5, None, Retry(0.5)),
        (59.6, None, GiveUp()),
        (0.0, 59.5, Retry(60.0)),
        (0.0, 59.6, GiveUp()),
        (600.0, None, GiveUp()),
    ],
)
def test_no_attempt_is_begun_when_the_time_is_over(
    tried_s: float, asked_s: float | None, decision: Retry | GiveUp
) -> None:
    policy = RetryPolicy(max_attempts=5, total_time_s=60.0, base_s=0.5)
    assert decide(error(errors.ProviderRateLimitedError, asked_s), 1, policy, 1.0, tried_s=tried_s) == decision


@pytest.mark.parametrize(("attempt", "tried_s"), [(1, 0.0), (5, 10.0), (99, 50.0)])
def test_a_provider_that_is_left_alone_is_waited_for_whatever_the_attempt(attempt: int, tried_s: float) -> None:
    alone = error(errors.ProviderUnavailableError, 4.0)
    policy = RetryPolicy(max_attempts=5, total_time_s=60.0)
    assert decide(alone, attempt, policy, 0.5, tried_s=tried_s) == Retry(4.5)
    assert decide(alone, attempt, policy, 0.5, tried_s=56.0) == GiveUp(), "but not for ever"
    assert decide(alone, attempt, policy, 0.5, tried_s=tried_s, fail_fast=True) == GiveUp()


def _kind(**bounds: float) -> Kind:
    complete = KINDS["complete"]
    return Kind("k", complete.input, complete.output, complete.request, **bounds)  # type: ignore[arg-type]


def _provider(**bounds: float) -> Provider:
    return builtin_providers()["groq"].model_copy(update=bounds)


@pytest.mark.parametrize(
    ("kind", "provider", "attempts", "total_time_s"),
    [
        (_kind(), _provider(), 5, 100.0),
        (None, None, 5, 100.0),
        (_kind(max_attempts=2), _provider(), 2, 100.0),
        (_kind(), _provider(max_attempts=9), 9, 100.0),
        (_kind(max_attempts=2), _provider(max_attempts=9), 2, 100.0),
        (_kind(max_attempts=9), _provider(max_attempts=2), 2, 100.0),
        (_kind(total_time_s=7.0), _provider(), 5, 7.0),
        (_kind(), _provider(total_time_s=700.0), 5, 700.0),
        (_kind(total_time_s=7.0, max_attempts=3), _provider(total_time_s=6.0), 3, 6.0),
    ],
)
def test_the_stricter_of_kind_and_provider_decides(
    kind: Kind | None, provider: Provider | None, attempts: int, total_time_s: float
) -> None:
    default = RetryPolicy(5, 0.25, 9.0, 100.0)
    assert policy_for(default, kind, provider) == RetryPolicy(attempts, 0.25, 9.0, total_time_s)
    assert policy_for(default, kind, provider, is_urgent=False) == RetryPolicy(attempts, 1.0, 9.0, total_time_s)
