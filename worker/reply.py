"""What an answer may look like before its content is read: no redirect, not compressed, not above a size."""

from collections.abc import AsyncIterator, Mapping

import aiohttp
from aiohttp import hdrs

REDIRECTS = frozenset({301, 302, 303, 307, 308})


class RedirectRefusedError(aiohttp.ClientError):
    """The server answered with a redirect; following it would hand prompt or key to another host."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class ReplyTooLargeError(aiohttp.ClientPayloadError):
    """The answer is larger than ``response_max_bytes``; the rest was not read."""


class ReplyEncodedError(aiohttp.ClientPayloadError):
    """The answer is compressed although we asked for plain: it could be a bomb (50 kB of gzip hold 50 MB)."""


def judge_reply(status: int, headers: Mapping[str, str], max_bytes: int) -> None:
    """Judges the head of an answer.

    Args:
        status: the HTTP status.
        headers: by name, whatever its case.
        max_bytes: largest body.

    Raises:
        RedirectRefusedError: it points elsewhere.
        ReplyEncodedError: it is compressed.
        ReplyTooLargeError: it says itself that it is too large.
    """
    if status in REDIRECTS:
        raise RedirectRefusedError(status)
    encoding = headers.get(hdrs.CONTENT_ENCODING)
    if encoding is not None and encoding.strip().lower() not in ("", "identity"):
        raise ReplyEncodedError("the answer is compressed")
    length = headers.get(hdrs.CONTENT_LENGTH, "")
    if length.isdecimal() and int(length[:20]) > max_bytes:
        raise ReplyTooLargeError("the answer is too large")


class ByteCounter:
    """Counts the bytes of one body down."""

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes

    def counted(self, chunk: bytes) -> bytes:
        """The chunk.

        Raises:
            ReplyTooLargeError: with it the body is too large.
        """
        self._left -= len(chunk)
        if self._left < 0:
            raise ReplyTooLargeError("the answer is too large")
        return chunk


class CappedBody(ByteCounter):
    """The ways in which SDKs read aiohttp's body, counted; any other way is missing, so that none goes uncounted."""

    def __init__(self, body: aiohttp.StreamReader, max_bytes: int) -> None:
        super().__init__(max_bytes)
        self._body = body
        self.exception, self.set_exception = body.exception, body.set_exception
        self.at_eof, self.is_eof = body.at_eof, body.is_eof

    async def read(self, n: int = -1) -> bytes:
        """At most ``n`` bytes, or all of them."""
        if n >= 0:
            return self.counted(await self._body.read(n))
        chunks = []
        while chunk := await self._body.readany():
            chunks.append(self.counted(chunk))
        return b"".join(chunks)

    async def iter_any(self) -> AsyncIterator[bytes]:
        """Chunks as they come."""
        while chunk := await self._body.readany():
            yield self.counted(chunk)

    async def iter_chunked(self, n: int) -> AsyncIterator[bytes]:
        """Chunks of at most ``n`` bytes."""
        while chunk := await self._body.read(n):
            yield self.counted(chunk)
