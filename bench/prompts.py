"""The inputs of all measurements: prompts and tickets of one kilobyte, each different."""

from typing import Any

PROMPT_BYTES = 1024
_STORY = (
    "Since this morning the login page answers with error 500. We have cleared caches, tried three browsers and two "
    "networks, and asked colleagues in another office: it is the same everywhere. Our night shift starts at ten and "
    "forty people will not be able to work. Please tell us what you know and when it will be solved. "
)


def prompt(number: int) -> str:
    """One kilobyte of text."""
    return f"Ticket {number:08d}. {_STORY * 4}"[:PROMPT_BYTES]


def ticket(number: int) -> dict[str, Any]:
    """A ticket of about one kilobyte as JSON."""
    return {
        "id": f"T{number:08d}",
        "subject": "Cannot log in since the update",
        "body": f"{_STORY * 2}"[:600],
        "comments": [{"author": "Anna (agent)", "at": "2026-03-02T09:14:00Z", "body": _STORY[:250]}],
    }
