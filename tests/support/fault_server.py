"""An HTTP server that misbehaves on purpose, down to the byte; it runs in the loop of the test that opens it."""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from ssl import SSLContext
from types import TracebackType
from typing import Any, Self

from tests.support.loop_thread import LoopThread

Play = Callable[["Exchange"], Awaitable[None]]


@dataclass
class Exchange:
    """One request and the connection that it came on."""

    line: str
    headers: dict[str, str]
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the client closed the connection while it was still owed an answer."""

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    async def send(self, data: bytes) -> None:
        """Writes to the client."""
        self.writer.write(data)
        await self.writer.drain()


class FaultServer:
    """Plays one script to every request and keeps what it was sent; ``met`` is set by the first."""

    def __init__(self, play: Play, *, ssl: SSLContext | None = None) -> None:
        self._play, self._ssl = play, ssl
        self.exchanges: list[Exchange] = []
        self.met = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._ssl)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Root of the server."""
        return f"{'https' if self._ssl else 'http'}://127.0.0.1:{self.port}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            # Cancelled by nobody but the end of the test.
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    exchange = await _read(reader, writer)
                    self.exchanges.append(exchange)
                    self.met.set()
                    await self._play(exchange)
        finally:
            writer.close()


class FaultServerThread(LoopThread):
    """A fault server in a loop of its own, for tests that wait for other things than it."""

    def __init__(self, play: Play) -> None:
        self._play = play
        super().__init__()

    async def _serve(self) -> None:
        async with FaultServer(self._play) as server:
            self.url = server.url
            self._started.set()
            await self._stop.wait()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Exchange:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Exchange(head[0], headers, body, reader, writer)


def head(status: int = 200, **headers: object) -> bytes:
    """A status line and headers; underscores in names stand for hyphens."""
    lines = [f"HTTP/1.1 {status} Status", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answer(body: bytes | object, status: int = 200, **headers: object) -> Play:
    """Answers with a body, JSON unless it is bytes."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content_type": "application/json", "content_length": len(data), **headers}

    async def play(exchange: Exchange) -> None:
        await exchange.send(head(status, **headers) + data)

    return play


def zipped(size: int) -> Play:
    """Answers with a small gzip that unpacks to ``size`` bytes."""
    return answer(gzip.compress(b" " * size), content_encoding="gzip")


async def hang(exchange: Exchange) -> None:
    """Never answers; notes when the client goes."""
    await exchange.reader.read()
    exchange.gone.set()


async def drip(exchange: Exchange) -> None:
    """Answers byte by byte, without end."""
    await exchange.send(head(content_type="application/json", content_length=1000))
    with suppress(ConnectionError):
        while not exchange.reader.at_eof():
            await exchange.send(b" ")
            await asyncio.sleep(0.02)
    exchange.gone.set()


async def flood(exchange: Exchange) -> None:
    """Answers with chunks without end, and never says how long it will be."""
    await exchange.send(head(content_type="application/json", transfer_encoding="chunked"))
    with suppress(ConnectionError):
        while True:
            await exchange.send(b"1000\r\n" + b" " * 0x1000 + b"\r\n")


async def cut_body(exchange: Exchange) -> None:
    """Closes in the middle of the answer."""
    await exchange.send(head(content_type="application/json", content_length=1000) + b'{"choices": [')
    exchange.writer.close()


async def cut_at_once(exchange: Exchange) -> None:
    """Reads the request and closes without a word."""
    exchange.writer.transport.abort()


async def garbage(exchange: Exchange) -> None:
    """Answers with what is not HTTP."""
    await exchange.send(b"220 mail.example.com ESMTP ready\r\n\r\n")
    exchange.writer.close()
