"""What a process allows itself while Redis is away."""

from typing import Any

import pytest

from config.providers import Limits
from worker.limits.exchange import Report, Turn
from worker.limits.share import SPACING_MS, Share

NOW_MS = 5_000_000


def report(limits: dict[str, int], **told: Any) -> Report:
    return Report(Limits.model_validate(limits), **told)


@pytest.mark.parametrize(("processes", "per_minute"), [(0, 600), (1, 600), (4, 150)])
def test_a_minute_sees_no_more_than_the_share(processes: int, per_minute: int) -> None:
    share, given = Share(), []
    for now_ms in range(NOW_MS, NOW_MS + 180_000, 250):
        answer = share.answer(report({"requests_per_minute": 600}, processes=processes, bulk=[1] * 9), now_ms)
        given += [now_ms + wait_ms for wait_ms in answer.bulk]
    for first in given:
        assert sum(first <= at < first + 60_000 for at in given) <= per_minute
    assert len(given) >= 0.95 * 3 * per_minute


def test_tokens_are_spaced_by_what_calls_reserve() -> None:
    share = Share()
    first = share.answer(report({"tokens_per_minute": 6000}, bulk=[1000, 1000]), NOW_MS)
    assert first.bulk == [0]
    assert first.again_ms
    later = share.answer(report({"tokens_per_minute": 6000}, interactive=[(1, 60_000)]), NOW_MS)
    assert later.interactive == [Turn(True, SPACING_MS // 6)]


def test_interactive_jobs_go_first_and_are_told_when_it_would_be_long() -> None:
    share = Share()
    limits = {"requests_per_minute": 60}
    answer = share.answer(report(limits, interactive=[(1, 1500)] * 3, bulk=[1]), NOW_MS)
    assert answer.interactive == [Turn(True, 0), Turn(True, 1020), Turn(False, 2040)]
    assert answer.bulk == []
    assert answer.again_ms


@pytest.mark.parametrize(("processes", "held", "given"), [(1, 0, 4), (2, 0, 2), (2, 1, 1), (9, 0, 1), (9, 1, 0)])
def test_calls_in_flight_are_divided(processes: int, held: int, given: int) -> None:
    told = report({"calls_in_flight": 4}, processes=processes, held=held, bulk=[1] * 9)
    answer = Share().answer(told, NOW_MS)
    assert len(answer.bulk) == given
    assert answer.again_ms


def test_a_pause_is_kept() -> None:
    share = Share()
    share.answer(report({}, hold_ms=3000), NOW_MS)
    answer = share.answer(report({}, interactive=[(1, 60_000)]), NOW_MS + 1000)
    assert answer.interactive == [Turn(True, 2000)]
    assert answer.hold_ms == 2000
