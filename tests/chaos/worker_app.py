"""The worker's application with crash points: ``celery -A tests.chaos.worker_app``.

``CHAOS_CRASH`` names the point at which the process kills itself, the first time that it comes there.
A job whose answer holds the word POISON kills its process each time it runs.
"""

import os
import signal
from collections.abc import Sequence
from functools import wraps
from typing import Any
from uuid import UUID

import jobs.work
from config.database import Database
from config.errors import ServiceUnavailableError
from jobs.chat import ChatReply
from jobs.dispatch import Dispatcher
from jobs.records import Entry, Settlement
from jobs.work import WorkLedger
from tests.chaos.dying import POINT, crash_after, crash_before, die
from worker import app as worker_app
from worker.caller import Caller

app = worker_app.app
POISON = "JOB[poison"


def settles(entries: Sequence[Entry]) -> bool:
    """Whether jobs end with these entries."""
    return any(isinstance(entry, Settlement) for entry in entries)


def some(items: Sequence[Any], *_: Any) -> bool:
    """Whether there is anything at all."""
    return bool(items)


def _deaf_after_commit(method: str) -> None:
    """The answer to a COMMIT is lost once: done, and the caller hears that Postgres is away."""
    original, heard = getattr(WorkLedger, method), list[str]()

    @wraps(original)
    def deaf(self: Any, *args: Any, **named: Any) -> Any:
        done = original(self, *args, **named)
        if not heard:
            heard.append(method)
            raise ServiceUnavailableError("Postgres", "nowhere", "the answer to a commit was lost, for the test")
        return done

    setattr(WorkLedger, method, deaf)


DEATHS = ("claimed", "intent written", "answered, not settled", "settled, not told", "next not sent")
"""In the order in which a job meets them."""

LOST_ANSWERS = {"deaf to claim": "claim", "deaf to intent": "begin_calls", "deaf to settlement": "record"}
"""No deaths: Postgres has done what it was asked, and the worker hears that it is away."""

FROZEN = "frozen in mid-settlement"
"""The process stands still within a transaction, its rows and its batch's row locked."""

crash_after(WorkLedger, "claim", "claimed", some)
crash_after(WorkLedger, "begin_calls", "intent written", some)
crash_before(WorkLedger, "record", "answered, not settled", settles)
crash_after(WorkLedger, "record", "settled, not told", settles)
crash_before(Dispatcher, "feed", "next not sent")
if POINT in LOST_ANSWERS:
    _deaf_after_commit(LOST_ANSWERS[POINT])


def _freeze_in_mid_settlement() -> None:
    original, done = jobs.work.settle, list[int]()

    @wraps(original)
    def settle(*args: Any) -> dict[UUID, bool]:
        settled = original(*args)
        if settled and not done:
            done.append(1)
            os.kill(os.getpid(), signal.SIGSTOP)
        return settled

    setattr(jobs.work, "settle", settle)  # noqa: B010 - a function replaced on purpose
    setattr(Database, "autocommit", Database.transaction)  # noqa: B010 - a settlement alone is in none, with a release it is


if POINT == FROZEN:
    _freeze_in_mid_settlement()


def _poison() -> None:
    original = Caller.call

    @wraps(original)
    async def call(self: Caller, *args: Any, **named: Any) -> ChatReply:
        reply = await original(self, *args, **named)
        if POISON in reply.text:
            die()
        return reply

    setattr(Caller, "call", call)  # noqa: B010 - a method replaced on purpose


_poison()
