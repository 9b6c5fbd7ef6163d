"""What stands between a client and a server: TLS for a server that speaks none, and a server that stops answering."""

import asyncio
from contextlib import suppress
from ssl import SSLContext

from tests.support.loop_thread import LoopThread

HOST = "127.0.0.1"


class Front(LoopThread):
    """Passes bytes to a server's port and back, from a thread with a loop of its own.

    While ``hangs`` is set it accepts and reads, and nobody is ever answered.

    Args:
        port: of the server.
        ssl: its context, if clients are to speak TLS.
    """

    def __init__(self, port: int, *, ssl: SSLContext | None = None) -> None:
        self._theirs, self._ssl = port, ssl
        self.hangs = False
        self.port = 0
        super().__init__()

    async def _serve(self) -> None:
        self._tasks = set[asyncio.Task[None]]()
        self._writers = set[asyncio.StreamWriter]()
        server = await asyncio.start_server(self._accept, HOST, 0, ssl=self._ssl)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            with suppress(AttributeError):  # of Python 3.11.2, where a TLS connection has already ended
                writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with suppress(asyncio.CancelledError):  # by nobody but the end of the test
            their_reader, their_writer = await asyncio.open_connection(HOST, self._theirs)
            self._writers |= {writer, their_writer}
            await asyncio.gather(self._pass(reader, their_writer), self._pass(their_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError):
                while data := await reader.read(65536):
                    if not self.hangs:
                        writer.write(data)
                        await writer.drain()
        finally:
            writer.close()
