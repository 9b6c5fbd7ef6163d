"""A provider in a process of its own: each answer names the job that asked, each request stands in a journal on disk.

Run as ``python -m tests.chaos.provider PORT JOURNAL PLAN SEED``. The plan is a JSON file that is read anew when it
changes: ``delay_s``, ``key`` (others get 401; null takes all) and ``faults``, a share of the requests for each name.
"""

import asyncio
import json
import os
import random
import re
import sys
from pathlib import Path
from typing import Any, cast

IDENTITY = re.compile(rb"JOB\[([\w-]+)\]")
HEAD_END = b"\r\n\r\n"
DRIP_S = 0.3
PAID = frozenset({"ok", "drip", "cut", "truncated", "malformed", "misfit"})
"""What ends in an answer that a provider would charge for, arrived or not."""

STATUSES = {"401": 401, "500": 500, "503": 503, "429": 429, "429-after": 429}


def response(body: bytes, status: int = 200, length: int | None = None, head: bytes = b"") -> bytes:
    """An answer; ``length`` is what it says of itself."""
    size = len(body) if length is None else length
    lines = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n" % (status, size, head)
    return lines + body


def answer(identity: str, structured: bool, fault: str) -> bytes:
    """A chat completion whose text names the job."""
    text = f"echo JOB[{identity}]"
    if structured:
        summary = {"title": text, "summary": "s", "sentiment": "neutral", "priority": "low", "action_items": []}
        text = json.dumps({"colour": text} if fault == "misfit" else summary)
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    usage = {"prompt_tokens": 20, "completion_tokens": 4, "total_tokens": 24}
    whole: dict[str, Any] = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "chaos-1"}
    body = json.dumps(whole | {"choices": [choice], "usage": usage}).encode()
    if fault == "truncated":
        return body[: len(body) // 2]
    return b"<html>" + body if fault == "malformed" else body


class Desk:
    """What all connections share: the plan, the journal, chance."""

    def __init__(self, journal: Path, plan: Path, seed: str) -> None:
        self._journal = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._plan, self._read_at = plan, 0
        self._chance = random.Random(seed)
        self._serial = 0
        self.delay_s, self.key = 0.0, ""
        self._faults: list[tuple[str, float]] = []

    def received(self, identity: str) -> str:
        """Enters a request and returns the name of its entry."""
        self._read_plan()
        self._serial += 1
        name = f"{os.getpid()}.{self._serial}"
        os.write(self._journal, f"R {name} {identity}\n".encode())
        return name

    def ended(self, name: str, how: str) -> None:
        """Enters what came of it."""
        os.write(self._journal, f"E {name} {how}\n".encode())

    def fault(self) -> str:
        """What this request meets."""
        draw = self._chance.random()
        for name, share in self._faults:
            draw -= share
            if draw < 0:
                return name
        return "ok"

    def _read_plan(self) -> None:
        changed_at = self._plan.stat().st_mtime_ns
        if changed_at != self._read_at:
            plan = json.loads(self._plan.read_text())
            self._read_at = changed_at
            self.delay_s, self.key = plan["delay_s"], plan["key"] or ""
            self._faults = list(plan["faults"].items())


class Connection(asyncio.Protocol):
    """One connection kept alive."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._received = desk, b""
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the way back."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answers every request that is complete."""
        self._received += data
        while (end := self._received.find(HEAD_END)) >= 0:
            head = self._received[:end].lower()
            length = re.search(rb"content-length: *(\d+)", head)
            size = end + len(HEAD_END) + (int(length[1]) if length else 0)
            if len(self._received) < size:
                return
            task = asyncio.ensure_future(self._serve(self._received[:end], self._received[end:size]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            self._received = self._received[size:]

    async def _serve(self, head: bytes, body: bytes) -> None:
        found = IDENTITY.search(body)
        if not found:
            self._transport.write(response(b"{}"))
            return
        desk, identity = self._desk, found[1].decode()
        name = desk.received(identity)
        fault = "401" if desk.key and f"Bearer {desk.key}".encode() not in head else desk.fault()
        await asyncio.sleep(desk.delay_s)
        desk.ended(name, fault)
        if fault == "hang":
            return
        if fault in STATUSES:
            error = json.dumps({"error": {"message": fault, "type": "chaos"}}).encode()
            self._transport.write(
                response(error, STATUSES[fault], head=b"Retry-After: 1\r\n" if fault.endswith("after") else b"")
            )
            return
        await self._send(answer(identity, b"json_schema" in body, fault), fault)

    async def _send(self, body: bytes, fault: str) -> None:
        if fault == "cut":
            self._transport.write(response(body[: len(body) // 2], length=len(body)))
            self._transport.close()
            return
        whole = response(body)
        if fault == "drip":
            for position in range(len(whole)):
                if self._transport.is_closing():
                    return
                self._transport.write(whole[position : position + 1])
                await asyncio.sleep(DRIP_S)
            return
        if not self._transport.is_closing():
            self._transport.write(whole)


async def serve(port: int, journal: Path, plan: Path, seed: str) -> None:
    """Serves on 127.0.0.1 until the process ends."""
    desk = Desk(journal, plan, seed)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(desk), "127.0.0.1", port, backlog=4096, reuse_address=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]))
