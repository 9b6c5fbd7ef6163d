"""What a provider's headers say is left of its limits, as a pause: pure; whatever cannot be read says nothing.

OpenAI, Groq and others send ``x-ratelimit-limit-*``, ``-remaining-*`` and ``-reset-*`` for ``requests`` and ``tokens``.
``reset`` is the time until all of the limit is there again, filling evenly (Groq's page on limits: 30 of
14,400 requests a day used, reset 2m59.56s, which is 30 × 6 s), so what is missing for the next calls comes back sooner.
"""

import re
from collections.abc import Mapping

SHORTEST_PAUSE_S = 0.05
"""Shorter ones pass on the way to the provider."""

LONGEST_RESET_S = 7 * 86400.0
"""Beyond it, a number is a date or nonsense."""

_DURATION = re.compile(
    r"(?:(\d{1,5})d)?(?:(\d{1,6})h)?(?:(\d{1,7})m)?(?:(\d{1,7}(?:\.\d{1,9})?)s)?(?:(\d{1,9}(?:\.\d{1,9})?)ms)?",
    re.ASCII,
)
_UNITS_S = (86400.0, 3600.0, 60.0, 1.0, 0.001)
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,9})?", re.ASCII)


def pause_s(headers: Mapping[str, str], calls: int, tokens_per_call: int) -> float:
    """For how long no further call should be made; 0 if there is enough left for those that come next.

    Args:
        headers: of an answer, by name whatever its case.
        calls: that are in flight, each of which will be followed by another.
        tokens_per_call: that such calls use.
    """
    pauses_s = (
        _pause_s(headers, "requests", calls),
        _pause_s(headers, "tokens", calls * max(1, tokens_per_call)),
    )
    longest_s = max(pauses_s)
    return longest_s if longest_s >= SHORTEST_PAUSE_S else 0.0


def _pause_s(headers: Mapping[str, str], what: str, needed: float) -> float:
    remaining = _number(headers.get(f"x-ratelimit-remaining-{what}"))
    if remaining is None or remaining >= needed:
        return 0.0
    reset_s = duration_s(headers.get(f"x-ratelimit-reset-{what}"))
    if reset_s is None:
        return 0.0
    limit = _number(headers.get(f"x-ratelimit-limit-{what}"))
    if limit is None:
        return 0.0 if remaining else reset_s
    if limit <= remaining:
        return 0.0
    return reset_s * (min(needed, limit) - remaining) / (limit - remaining)


def duration_s(value: str | None) -> float | None:
    """Seconds of a duration such as ``1s``, ``6m0s``, ``20ms``, ``1h2m3.5s`` or ``12.5`` (seconds); else None."""
    text = (value or "").strip()
    found = _DURATION.fullmatch(text)
    if text and found:
        seconds = sum(float(part) * unit_s for part, unit_s in zip(found.groups(), _UNITS_S, strict=True) if part)
    else:
        number = _number(text)
        if number is None:
            return None
        seconds = number
    return seconds if seconds <= LONGEST_RESET_S else None


def _number(value: str | None) -> float | None:
    if value is None:  # as for most providers, after each call
        return None
    text = value.strip()
    return float(text) if _NUMBER.fullmatch(text) else None
