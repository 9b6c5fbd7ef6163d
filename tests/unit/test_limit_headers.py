"""What is left of a provider's limits, by its headers: by table."""

import pytest

from worker.limits.headers import duration_s, pause_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("20ms", 0.02),
        ("2m59.56s", 179.56),
        ("7.66s", 7.66),
        ("1h2m3.5s", 3723.5),
        ("1m", 60.0),
        ("1d2h", 93600.0),
        ("1s500ms", 1.5),
        ("12", 12.0),
        ("12.5", 12.5),
        (" 3s ", 3.0),
        ("0s", 0.0),
        ("", None),
        (None, None),
        ("soon", None),
        ("-1s", None),
        ("1s2", None),
        ("1e9", None),
        ("nan", None),
        ("inf", None),
        ("1785000000", None),
        ("2026-11-25T17:00:00Z", None),
        ("9" * 400, None),
        ("٣s", None),
    ],
)
def test_durations(text: str | None, seconds: float | None) -> None:
    assert duration_s(text) == (None if seconds is None else pytest.approx(seconds))


def said(what: str, remaining: object, reset: object, limit: object = None) -> dict[str, str]:
    given = {"limit": limit, "remaining": remaining, "reset": reset}
    return {f"x-ratelimit-{name}-{what}": str(value) for name, value in given.items() if value is not None}


@pytest.mark.parametrize(
    ("headers", "calls", "tokens", "seconds"),
    [
        ({}, 10, 100, 0.0),
        (said("requests", 59, "1s", 60), 1, 0, 0.0),
        (said("requests", 0, "60s", 60), 1, 0, 1.0),
        (said("requests", 0, "60s", 60), 10, 0, 10.0),
        (said("requests", 5, "55s", 60), 10, 0, 5.0),
        (said("requests", 0, "60s", 60), 500, 0, 60.0),
        (said("requests", 14370, "2m59.56s", 14400), 1, 0, 0.0),
        (said("requests", 0, "30s"), 5, 0, 30.0),
        (said("requests", 1, "30s"), 5, 0, 0.0),
        (said("tokens", 150, "60s", 1000), 1, 100, 0.0),
        (said("tokens", 50, "57s", 1000), 1, 100, 3.0),
        (said("tokens", 0, "60s", 1000), 1, 0, 0.06),
        (said("requests", 0, "60s", 60) | said("tokens", 0, "60s", 1000), 1, 500, 30.0),
        (said("requests", 0, "2ms", 60), 1, 0, 0.0),
        (said("requests", 0, None, 60), 1, 0, 0.0),
        (said("requests", "many", "60s", 60), 1, 0, 0.0),
        (said("requests", -1, "60s", 60), 1, 0, 0.0),
        (said("requests", 0, "later", 60), 1, 0, 0.0),
        (said("requests", 0, "60s", "x"), 1, 0, 60.0),
        (said("requests", 0, "60s", 0), 1, 0, 0.0),
    ],
)
def test_pauses(headers: dict[str, str], calls: int, tokens: int, seconds: float) -> None:
    assert pause_s(headers, calls, tokens) == pytest.approx(seconds)
