"""Crash points for programs under test: a process kills itself at the door or at the end of a method.

``CHAOS_CRASH`` names the point; nothing of this is in the programs themselves.
"""

import os
import signal
from collections.abc import Callable
from functools import wraps
from typing import Any

POINT = os.environ.get("CHAOS_CRASH", "")


def die() -> None:
    """What the kernel does to a process that is out of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def crash_before(owner: type, method: str, point: str, applies: Callable[..., bool] = lambda *_: True) -> None:
    """Dies at the door of a method if this is the point that was asked for."""
    if point == POINT:
        original = getattr(owner, method)

        @wraps(original)
        def dying(self: Any, *args: Any, **named: Any) -> Any:
            if applies(*args):
                die()
            return original(self, *args, **named)

        setattr(owner, method, dying)


def crash_after(owner: type, method: str, point: str, applies: Callable[..., bool] = lambda *_: True) -> None:
    """Dies once a method is done and before anybody hears of it."""
    if point == POINT:
        original = getattr(owner, method)

        @wraps(original)
        def dying(self: Any, *args: Any, **named: Any) -> Any:
            done = original(self, *args, **named)
            if applies(*args):
                die()
            return done

        setattr(owner, method, dying)
