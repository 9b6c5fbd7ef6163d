"""The provider of all measurements: the same chat completion after a fixed time, for as little CPU as Python allows.

Run as ``python -m bench.llm_server PORT DELAY_S``. ``GET /counts`` tells what it has seen since ``POST /reset``.
"""

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from typing import cast

HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length:"


def _response(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


ANSWER = _response(
    json.dumps(
        {
            "id": "chatcmpl-bench",
            "object": "chat.completion",
            "created": 1767225600,
            "model": "bench-1",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "The customer cannot log in. " * 8, "refusal": None},
                    "finish_reason": "stop",
                    "logprobs": None,
                }
            ],
            "usage": {"prompt_tokens": 220, "completion_tokens": 48, "total_tokens": 268},
        }
    ).encode()
)


@dataclass
class Counts:
    """What the server has seen; times are ``time.monotonic()``, which all processes of a machine share."""

    requests: int = 0
    answered: int = 0
    most_in_flight: int = 0
    last_request_at: float = 0.0
    last_answer_at: float = 0.0

    def begin(self) -> None:
        """A request has come in."""
        self.requests += 1
        self.most_in_flight = max(self.most_in_flight, self.requests - self.answered)
        self.last_request_at = time.monotonic()

    def end(self) -> None:
        """Its answer goes out."""
        self.answered += 1
        self.last_answer_at = time.monotonic()


@dataclass
class Desk:
    """What all connections share."""

    delay_s: float
    loop: asyncio.AbstractEventLoop
    counts: Counts = field(default_factory=Counts)


class Connection(asyncio.Protocol):
    """One connection kept alive; requests on it come one after another."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._received = desk, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the way back."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answers every request that is complete."""
        self._received = self._received + data if self._received else data
        while (end := self._received.find(HEAD_END)) >= 0:
            size = end + len(HEAD_END) + _length(self._received[:end])
            if len(self._received) < size:
                return
            self._serve(self._received[:64])
            self._received = self._received[size:]

    def _serve(self, start: bytes) -> None:
        if start.startswith((b"GET /counts", b"POST /reset")):
            self._transport.write(_response(json.dumps(vars(self._desk.counts)).encode()))
            if start.startswith(b"POST"):
                self._desk.counts = Counts()
            return
        counts = self._desk.counts
        counts.begin()
        self._desk.loop.call_later(self._desk.delay_s, self._answer, counts)

    def _answer(self, counts: Counts) -> None:
        counts.end()
        if not self._transport.is_closing():
            self._transport.write(ANSWER)


def _length(head: bytes) -> int:
    """Bytes of the body that a head announces."""
    lower = head.lower()
    start = lower.find(LENGTH)
    return int(lower[start + len(LENGTH) :].split(b"\r\n", 1)[0]) if start >= 0 else 0


async def serve(port: int, delay_s: float) -> None:
    """Serves on 127.0.0.1 until the process ends."""
    loop = asyncio.get_running_loop()
    desk = Desk(delay_s, loop)
    server = await loop.create_server(lambda: Connection(desk), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop  # for this process alone: others read the counts

    uvloop.run(serve(int(sys.argv[1]), float(sys.argv[2])))
