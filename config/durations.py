"""Lengths of time as people write them: 30m, 12h, 7d."""

import re

from config.errors import UsageError

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_WRITTEN = re.compile(r"([0-9]{1,9})\s*([smhdw])", re.IGNORECASE)


def duration_s(text: str) -> float:
    """The seconds of a length of time: a whole number with one of the units s, m, h, d, w.

    Raises:
        UsageError: it is none, or nothing.
    """
    found = _WRITTEN.fullmatch(text.strip())
    seconds = int(found[1]) * _UNITS_S[found[2].lower()] if found else 0
    if not seconds:
        raise UsageError("a length of time is a number with a unit, such as 30m, 12h or 7d")
    return float(seconds)
