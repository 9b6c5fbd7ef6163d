"""What a process and the circuit of one provider tell each other, and the one script through which they do."""

import json
from dataclasses import dataclass

import redis

from config.redis_link import redis_errors
from config.redis_names import PROVIDER_CIRCUIT
from config.resources import text_of


@dataclass(frozen=True)
class CircuitReport:
    """What a process says.

    Args:
        generation: of the provider's definition; one that was changed begins anew.
        calls: that have ended since it last told.
        failed: those of them that say that the provider is ill.
        probe: how its probe ended: ``well``, ``ill``, or ``none`` if it came to nothing.
        asks: whether it would make a probe.
        call_ms: no call takes longer. So long a probe is waited for, and what was counted is remembered without news.
    """

    generation: int
    calls: int = 0
    failed: int = 0
    probe: str | None = None
    asks: bool = False
    call_ms: int = 70_000


@dataclass(frozen=True)
class CircuitAnswer:
    """What a process hears.

    Args:
        open: the provider is left alone.
        wait_s: until it may be probed.
        probing: somebody probes it.
        yours: this process is to make the probe.
        event: what this exchange brought about: ``opened``, ``probing``, ``still`` (ill) or ``closed``.
        calls: that decided it: since as many had last failed as ended well.
        failed: likewise.
    """

    open: bool
    wait_s: float = 0.0
    probing: bool = False
    yours: bool = False
    event: str | None = None
    calls: int = 0
    failed: int = 0


class CircuitExchange:
    """Runs the script; every call may raise ServiceUnavailableError.

    Args:
        client: a client that decodes responses.
        url: Redis' URL, for messages.
        process: this process' name.
    """

    def __init__(self, client: redis.Redis, url: str, process: str) -> None:
        self._client, self._url, self._process = client, url, process
        self._script = client.register_script(text_of("worker", "lua/circuit.lua"))

    def __call__(self, provider_id: str, report: CircuitReport) -> CircuitAnswer:
        """Tells and asks, in one round trip."""
        told = {"process": self._process, **vars(report)}
        with redis_errors(self._url):
            text = self._script(keys=[PROVIDER_CIRCUIT.format(id=provider_id)], args=[json.dumps(told)])
        data = json.loads(str(text))
        return CircuitAnswer(wait_s=data.pop("wait_ms") / 1000, **data)
