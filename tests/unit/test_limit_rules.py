"""What a call will cost and how long a job would wait, by tables."""

import pytest

from config.providers import Limits
from jobs.chat import ChatRequest, Image, Message, Usage
from jobs.estimate import input_tokens
from worker.limits.rules import (
    Experience,
    bulk_turns,
    expected_wait_s,
    is_limited,
    release_wait_s,
)


@pytest.mark.parametrize(
    ("request_", "tokens"),
    [
        (ChatRequest((Message("user", ""),)), 4),
        (ChatRequest((Message("user", "x"),)), 5),
        (ChatRequest((Message("user", "x" * 300),)), 104),
        (ChatRequest((Message("user", "ä" * 300),)), 204),
        (ChatRequest((Message("user", "\ud800" * 3),)), 5),
        (ChatRequest((Message("system", "x" * 30), Message("user", "x" * 30))), 28),
        (ChatRequest((Message("user", "", (Image("image/png", "eA=="),)),)), 1004),
        (ChatRequest((Message("user", ""),), json_schema={"type": "object"}), 10),
    ],
)
def test_input_is_guessed_from_its_length(request_: ChatRequest, tokens: int) -> None:
    assert input_tokens(request_) == tokens


@pytest.mark.parametrize(
    ("lessons", "max_output_tokens", "estimate"),
    [
        (0, None, 100 + 512),
        (0, 50, 150),
        (4, 50, 100 * 0.5 + 50),
        (5, 50, 100 * 0.5 + 20),
        (5, 10, 100 * 0.5 + 10),
        (5, None, 100 * 0.5 + 20),
    ],
)
def test_what_calls_use_is_learned(lessons: int, max_output_tokens: int | None, estimate: float) -> None:
    experience = Experience()
    for _ in range(lessons):
        experience.learn(100, Usage(50, 20))
    assert experience.estimate(100, max_output_tokens) == estimate


def test_a_change_of_what_calls_use_is_followed() -> None:
    experience = Experience()
    for tokens in [10] * 50 + [200] * 50:
        experience.learn(100, Usage(100, tokens))
    assert experience.estimate(100, None) == pytest.approx(300, rel=0.01)


@pytest.mark.parametrize(
    ("limits", "limited"),
    [
        ({}, False),
        ({"requests_per_minute": 1}, True),
        ({"tokens_per_minute": 1}, True),
        ({"calls_in_flight": 1}, True),
    ],
)
def test_is_limited(limits: dict[str, int], limited: bool) -> None:
    assert is_limited(Limits.model_validate(limits)) == limited


@pytest.mark.parametrize(
    ("limits", "asks"),
    [
        ({"requests_per_minute": 6}, 4),
        ({"requests_per_minute": 600}, 14),
        ({"requests_per_minute": 600, "calls_in_flight": 2}, 6),
        ({"tokens_per_minute": 1}, 254),
        ({"requests_per_minute": 10**6}, 254),
    ],
)
def test_as_many_ask_as_can_be_given_a_turn(limits: dict[str, int], asks: int) -> None:
    assert bulk_turns(Limits.model_validate(limits)) == asks


@pytest.mark.parametrize(
    ("ahead", "limits", "processes", "wait_s"),
    [
        (0, {"requests_per_minute": 60}, 3, 0),
        (10, {}, 3, 0),
        (10, {"requests_per_minute": 60}, 1, 10),
        (10, {"requests_per_minute": 60}, 3, 30),
        (10, {"tokens_per_minute": 6000}, 1, 20),
        (10, {"calls_in_flight": 5}, 2, 16),
        (10, {"requests_per_minute": 60, "tokens_per_minute": 6000, "calls_in_flight": 5}, 1, 20),
    ],
)
def test_expected_wait(ahead: int, limits: dict[str, int], processes: int, wait_s: float) -> None:
    assert expected_wait_s(ahead, 200, 4.0, Limits.model_validate(limits), processes) == pytest.approx(wait_s)


@pytest.mark.parametrize(
    ("wait_s", "jitter", "stays_s"), [(0, 1, 1), (40, 0, 20), (40, 1, 40), (4000, 0, 30), (4000, 1, 60)]
)
def test_who_is_sent_away_stays_away_for_less_than_it_would_wait(wait_s: float, jitter: float, stays_s: float) -> None:
    assert release_wait_s(wait_s, jitter) == stays_s
