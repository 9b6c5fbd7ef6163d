"""Lengths of time as people write them."""

import pytest

from config.durations import duration_s
from config.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"), [("45s", 45), ("30m", 1800), ("12h", 43_200), ("7d", 604_800), (" 2 W ", 1_209_600)]
)
def test_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "7", "d", "0d", "-7d", "1.5h", "7 days", "7d12h", "1e3s", "٧d", "9" * 400 + "d"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="such as 30m, 12h or 7d"):
        duration_s(text)
