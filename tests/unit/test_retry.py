"""The retry decision, by table."""

from itertools import pairwise
from random import Random

import pytest

from config import errors
from config.errors import CallError
from config.providers import Provider, builtin_providers
from jobs.kind import Kind
from jobs.kinds import KINDS
from worker.retry import GROWTH, GiveUp, Retry, RetryPolicy, backoff_s, decide, policy_for

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
@pytest.mark.parametrize(
    ("attempt", "shortest_s", "longest_s"), [(1, 0.0, 0.5), (2, 0.6, 1.0), (3, 1.2, 2.0), (4, 2.4, 4.0)]
)
def test_backs_off_in_windows_that_follow_one_another(
    cls: type[CallError], attempt: int, shortest_s: float, longest_s: float
) -> None:
    assert decide(error(cls), attempt, POLICY, 0.0) == Retry(shortest_s)
    assert decide(error(cls), attempt, POLICY, 1.0) == Retry(longest_s)


@pytest.mark.parametrize(
    ("attempt", "waited_s", "shortest_s", "longest_s"),
    [
        (1, 99.0, 0.0, 0.5),
        (2, 0.1, 0.6, 1.0),
        (2, 0.5, 0.6, 1.0),
        (2, 2.0, 2.4, 4.0),
        (3, 2.0, 2.4, 4.0),
        (3, 99.0, 4.8, 8.0),
    ],
)
def test_a_wait_that_took_longer_than_was_drawn_is_outgrown_as_well(
    attempt: int, waited_s: float, shortest_s: float, longest_s: float
) -> None:
    unreachable = error(errors.ProviderUnreachableError)
    assert decide(unreachable, attempt, POLICY, 0.0, waited_s=waited_s) == Retry(shortest_s)
    assert decide(unreachable, attempt, POLICY, 1.0, waited_s=waited_s) == Retry(longest_s)


@pytest.mark.parametrize("seed", range(200))
def test_waits_grow_whatever_is_drawn_and_whatever_stretches_them(seed: int) -> None:
    """Up to the cap; llmock, for one, calls a client constant whose waits grow by no more than a tenth."""
    chance = Random(seed)
    policy = RetryPolicy(99, base_s=chance.uniform(0.1, 3.0), cap_s=chance.uniform(5.0, 60.0))
    waited_s = 0.0
    for attempt in range(1, 12):
        wait_s = backoff_s(attempt, policy, chance.random(), waited_s)
        assert 0.0 <= wait_s <= policy.cap_s
        assert wait_s >= min(GROWTH * waited_s, GROWTH / 2 * policy.cap_s)
        waited_s = wait_s + chance.choice([0.0, chance.uniform(0.0, 3.0)])


def test_each_window_is_used_to_the_full_and_none_overlaps_the_next() -> None:
    """So that those who failed together neither come back together nor meet those who failed before them."""
    chance = Random(1)
    windows = [[backoff_s(attempt, POLICY, chance.random()) for _ in range(2000)] for attempt in range(1, 6)]
    for before, after in pairwise(windows):
        assert max(before) < min(after) < max(before) * 1.25
    for attempt, window in enumerate(windows, 1):
        longest_s = POLICY.base_s * 2 ** (attempt - 1)
        shortest_s = 0.0 if attempt == 1 else longest_s * GROWTH / 2
        tenths = {int((wait_s - shortest_s) / (longest_s - shortest_s) * 10) for wait_s in window}
        assert tenths == set(range(10)), "of the window"


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


@pytest.mark.parametrize("attempt", [5, 30, 3000])
def test_the_backoff_is_capped(attempt: int) -> None:
    policy = RetryPolicy(9999, 0.5, 8.0)
    assert decide(error(errors.ProviderServerError), attempt, policy, 1.0) == Retry(8.0)
    assert decide(error(errors.ProviderServerError), attempt, policy, 0.0) == Retry(4.8)


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
