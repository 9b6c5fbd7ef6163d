"""How long the pause before a call really was, which the next one is to outgrow."""

from types import SimpleNamespace
from uuid import uuid4

import pytest

from config.errors import ProviderServerError
from jobs.records import CallEnd, Claim
from worker import progress as progress_module
from worker.progress import Progress


class Clock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress_module, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


@pytest.fixture
def progress() -> Progress:
    return Progress.of(Claim(uuid4(), None, "complete", "p", None, "bulk", "{}", 1, 0), 1000.0)


def call(progress: Progress, outcome: str) -> None:
    progress.begins(progress.calls + 1)
    progress.end(CallEnd(progress.claim.job_id, progress.calls, outcome), priced=False)


def test_from_the_end_of_a_failed_call_to_the_next_one(clock: Clock, progress: Progress) -> None:
    call(progress, "ProviderServerError")
    assert progress.waited_s == 0.0
    progress.pauses()
    clock.now += 2.5
    call(progress, "ProviderServerError")
    assert progress.waited_s == 2.5


def test_a_call_that_was_never_sent_does_not_end_it(clock: Clock, progress: Progress) -> None:
    call(progress, "ProviderServerError")
    progress.pauses()
    clock.now += 1.0
    call(progress, "superseded")
    clock.now += 1.0
    call(progress, "ProviderServerError")
    assert progress.waited_s == 2.0


def test_a_pause_that_the_provider_asked_for_is_none(clock: Clock, progress: Progress) -> None:
    call(progress, "ProviderServerError")
    progress.pauses()
    clock.now += 1.0
    call(progress, "ProviderRateLimitedError")  # with a Retry-After: nobody says that we pause
    clock.now += 60.0
    call(progress, "ProviderServerError")
    assert progress.waited_s == 1.0


def test_the_next_provider_knows_nothing_of_it(clock: Clock, progress: Progress) -> None:
    call(progress, "ProviderServerError")
    progress.pauses()
    clock.now += 1.0
    call(progress, "ProviderServerError")
    progress.move_on(ProviderServerError("p", "words", 500))
    assert progress.waited_s == 0.0
