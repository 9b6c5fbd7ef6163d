"""What a process and the limits of one provider tell each other, and the one script through which they do."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from config.providers import Limits
from config.redis_link import redis_errors
from config.redis_names import PROVIDER_LIMITS
from config.resources import text_of


@dataclass(frozen=True)
class Report:
    """What a process says.

    Args:
        limits: as they are now, by this process' registry.
        held: calls that this process has in flight or is about to make.
        processes: how many worked for this provider when it was last told; 0 if it never was.
        settled: (time of the call in ms, tokens used beyond what was reserved) of calls that have ended.
        hold_ms: for so long the provider wants no call, by its own word.
        interactive: (tokens, longest wait in ms) of each job that waits.
        bulk: tokens of each job that waits; those that get no time soon go on waiting.
    """

    limits: Limits
    held: int = 0
    processes: int = 0
    settled: Sequence[tuple[int, int]] = ()
    hold_ms: int = 0
    interactive: Sequence[tuple[int, int]] = ()
    bulk: Sequence[int] = ()


@dataclass(frozen=True)
class Turn:
    """What one interactive job was told; not ``given``, ``wait_ms`` is what it will not wait."""

    given: bool
    wait_ms: int


@dataclass(frozen=True)
class Answer:
    """What a process is told.

    Args:
        now_ms: the server's time, from which waits count; None where no server was asked.
        processes: how many work for this provider now.
        interactive: an answer each; None for a job that has to ask again.
        bulk: waits in ms, for the first of those that asked; the others ask again.
        again_ms: when to ask again; None if nobody has to.
        hold_ms: for so long the provider wants no call, as it told this process or another one.
        scarce: who has to ask again waits for a call in flight to end.
    """

    now_ms: int | None
    processes: int = 1
    interactive: Sequence[Turn | None] = ()
    bulk: Sequence[int] = field(default=())
    again_ms: int | None = None
    hold_ms: int = 0
    scarce: bool = False


class LimitExchange:
    """Runs the script; every call may raise ServiceUnavailableError.

    Args:
        client: a client that decodes responses.
        url: Redis' URL, for messages.
        process: this process' name.
        lease_s: the word of a process that has been silent for so long is void.
    """

    def __init__(self, client: redis.Redis, url: str, process: str, lease_s: float) -> None:
        self._client, self._url, self._process, self._lease_s = client, url, process, lease_s
        self._script = client.register_script(text_of("worker", "lua/limits.lua"))

    def __call__(self, provider_id: str, report: Report) -> Answer:
        """Tells and asks, in one round trip."""
        limits = report.limits
        named = {
            "requests": limits.requests_per_minute,
            "tokens": limits.tokens_per_minute,
            "calls": limits.calls_in_flight,
        }
        told = {
            "process": self._process,
            "lease_ms": round(self._lease_s * 1000),
            "limits": {name: limit for name, limit in named.items() if limit},
            "held": report.held,
            "processes": report.processes,
            "settled": report.settled,
            "hold_ms": report.hold_ms,
            "interactive": report.interactive,
            "bulk": report.bulk,
        }
        with redis_errors(self._url):
            text = self._script(keys=[PROVIDER_LIMITS.format(id=provider_id)], args=[json.dumps(told)])
        return _answer(json.loads(str(text)))


def _answer(data: dict[str, Any]) -> Answer:
    """Lua's empty table comes as an object, and its numbers may be floats."""
    turns = [Turn(bool(turn[0]), int(turn[1])) if turn else None for turn in data["interactive"] or ()]
    waits = [int(wait_ms) for wait_ms in data["bulk"] or ()]
    again_ms = int(data["again_ms"]) if data["again_ms"] >= 0 else None
    told = int(data["now_ms"]), int(data["processes"]), turns, waits, again_ms, int(data["hold_ms"])
    return Answer(*told, bool(data["scarce"]))
