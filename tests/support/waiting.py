"""Waiting for a condition with a deadline; a test never sleeps for a fixed time."""

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def wait_for(condition: Callable[[], Value], what: str, timeout_s: float = 20.0) -> Value:
    """The first truthy value of the condition; fails the test when the deadline passes.

    Args:
        condition: asked again and again.
        what: says in the failure what was waited for.
        timeout_s: the deadline.
    """
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"no {what} after {timeout_s:g} s"
        time.sleep(0.02)
    return value
