"""When another provider is asked, by table; and how a job keeps count while it goes from one to the next."""

from uuid import uuid4

import pytest

from config import errors
from config.errors import CallError
from jobs.records import Claim
from worker.circuit import is_ill
from worker.fallback import HELPED, helps, moves_on
from worker.progress import Progress
from worker.retry import GiveUp, Retry

OWN = {
    errors.InputUnreadableError,
    errors.InternalError,
    errors.InvalidOutputError,
    errors.KeyUnavailableError,
    errors.OutputRefusedError,
    errors.OutputTruncatedError,
    errors.WorkerLostError,
}
"""Errors that would be the same at any provider."""


def error(cls: type[CallError], status: int | None = None) -> CallError:
    return cls("groq", "words", status)


def test_every_error_has_its_place() -> None:
    assert set(CallError.__subclasses__()) == set(HELPED) | OWN
    assert not set(HELPED) & OWN


@pytest.mark.parametrize("cls", [*HELPED, errors.ProviderUnreachableError])
def test_errors_of_a_provider_are_helped_elsewhere(cls: type[CallError]) -> None:
    assert helps(error(cls))


@pytest.mark.parametrize("cls", sorted(OWN, key=str))
def test_errors_of_the_job_are_not(cls: type[CallError]) -> None:
    assert not helps(error(cls))
    assert not moves_on(error(cls), GiveUp(), is_urgent=True)


@pytest.mark.parametrize(
    ("status", "helped"),
    [(301, True), (400, False), (402, True), (403, True), (404, True), (413, False), (415, False), (422, False)],
)
def test_a_refusal_is_of_the_request_or_of_the_provider(status: int, helped: bool) -> None:
    assert helps(error(errors.ProviderRejectedError, status)) is helped


@pytest.mark.parametrize(
    ("cls", "decision", "urgent", "bulk"),
    [
        (errors.ProviderServerError, GiveUp(), True, True),
        (errors.ProviderServerError, Retry(0.5), False, False),
        (errors.ProviderServerError, Retry(5.1), True, False),
        (errors.ProviderRateLimitedError, Retry(60.0), True, False),
        (errors.ProviderRateLimitedError, Retry(1.0), False, False),
        (errors.ProviderUnavailableError, Retry(5.0), True, True),
        (errors.ProviderUnavailableError, GiveUp(), True, True),
        (errors.KeyMissingError, GiveUp(), True, True),
    ],
)
def test_who_is_waited_for_goes_sooner(
    cls: type[CallError], decision: Retry | GiveUp, urgent: bool, bulk: bool
) -> None:
    assert moves_on(error(cls), decision, is_urgent=True) is urgent
    assert moves_on(error(cls), decision, is_urgent=False) is bulk


@pytest.mark.parametrize(
    ("cls", "status", "ill"),
    [
        (errors.ProviderServerError, 500, True),
        (errors.ProviderServerError, 503, True),
        (errors.ProviderServerError, 408, False),
        (errors.ProviderServerError, 409, False),
        (errors.ProviderTimeoutError, None, True),
        (errors.ProviderConnectionError, None, True),
        (errors.ProviderUnreachableError, None, True),
        (errors.ProviderRateLimitedError, 429, False),
        (errors.ProviderAuthError, 401, False),
        (errors.ProviderRejectedError, 400, False),
        (errors.ProviderReplyError, None, False),
        (errors.EgressDeniedError, None, False),
        (errors.InternalError, None, False),
    ],
)
def test_what_says_that_a_provider_is_ill(cls: type[CallError], status: int | None, ill: bool) -> None:
    assert is_ill(error(cls, status)) is ill


def progress(**of_claim: object) -> Progress:
    claim = Claim(uuid4(), None, "complete", "a", "m", "interactive", "{}", 1, **{"attempts": 0, **of_claim})  # type: ignore[arg-type]
    return Progress.of(claim, 0.0)


def test_a_job_goes_from_provider_to_provider_with_a_budget_for_each() -> None:
    job = progress(fallbacks=("b", "c"))
    assert (job.provider_id, job.model, job.has_fallback, job.attempt) == ("a", "m", True, 1)
    for call in (1, 2, 3):
        job.begins(call)
    assert job.attempt == 3
    job.move_on(errors.ProviderServerError("a", "a answered 503", 503))
    assert (job.provider_id, job.model, job.attempt) == ("b", None, 1)
    job.begins(4)
    job.begins(5)
    assert job.attempt == 2
    job.move_on(errors.ProviderAuthError("b", "b answered 401", 401))
    assert (job.provider_id, job.has_fallback) == ("c", False)
    assert job.settlement("succeeded", "{}").fallback_reason == "ProviderServerError: a answered 503"


def test_what_went_back_goes_on_where_it_was() -> None:
    job = progress(fallbacks=("b",))
    job.begins(1)
    job.move_on(error(errors.ProviderServerError))
    job.begins(2)
    back = job.release(3.0)
    assert (back.attempts, back.retries_from, back.fallback_position) == (2, 1, 1)
    again = progress(
        fallbacks=("b",),
        attempts=back.attempts,
        retries_from=back.retries_from,
        fallback_position=back.fallback_position,
        fallback_reason=back.fallback_reason,
        tried_s=7.0,
    )
    assert (again.provider_id, again.attempt, again.fallback_reason) == ("b", 1, "ProviderServerError: words")
    again.begins(3)
    assert again.attempt == 2
    assert again.tried_s >= 7.0


def test_where_none_can_be_asked_the_first_is_asked_again() -> None:
    job = progress(fallbacks=("b",))
    job.begins(1)
    job.move_on(error(errors.ProviderUnavailableError))
    job.begin_again()
    assert (job.provider_id, job.attempt, job.fallback_reason) == ("a", 1, None)
    assert job.release().fallback_position == 0


def test_a_probe_that_failed_is_no_attempt() -> None:
    job = progress(attempts=4)
    job.begins(5)
    assert job.attempt == 5
    job.uncount()
    assert job.attempt == 4
    assert job.release().retries_from == 1
