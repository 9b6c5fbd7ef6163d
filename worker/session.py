"""The one HTTP session of a process and loop; every call to a provider goes through it, whatever SDK makes it."""

import asyncio
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import lru_cache
from ssl import SSLContext
from typing import Any, cast

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import AbstractResolver, ResolveResult

from config.egress import EgressPolicy
from worker.reply import CappedBody, judge_reply

Lookup = Callable[..., list[tuple[Any, ...]]]
"""What ``socket.getaddrinfo`` does."""

DNS_THREADS = 8
DNS_TTL_S = 30
KEEPALIVE_S = 20.0
CONNECT_TIMEOUT_S = 10.0

_url_host: ContextVar[str] = ContextVar("url_host")

answer_head: ContextVar[tuple[int, Mapping[str, str]]] = ContextVar("answer_head")
"""Status and headers of the last answer that this task got: google-genai loses them where the body is broken JSON."""


class AddressDeniedError(OSError):
    """The policy does not let this host or address be dialled; an OSError, so that HTTP libraries carry it outward."""


@lru_cache(maxsize=1024)
def check_host(host: str) -> None:
    """Refuses numbers in an odd spelling (``127.1``, ``2130706433``), which C libraries turn into addresses.

    Raises:
        AddressDeniedError: the host is neither a name nor an address in its usual spelling.
    """
    if ":" in host or any(c.isalpha() for c in host.rstrip(".").rsplit(".", 1)[-1]):
        return
    try:
        socket.inet_pton(socket.AF_INET, host)
    except OSError:
        raise AddressDeniedError("the host is a number in an odd spelling") from None


def check_address(policy: EgressPolicy, address: str, host: str) -> None:
    """Refuses an address that the policy does not allow for the host that the URL named.

    Raises:
        AddressDeniedError: without the address, which a stranger's URL should not make us look up and tell.
    """
    if not policy.allows_address(address, host):
        raise AddressDeniedError("the address may not be dialled")


class GuardedResolver(AbstractResolver):
    """Looks names up in threads of its own, and refuses a name if any of its addresses is not allowed.

    The threads are few and belong to nothing else: a name server that never answers holds up new connections, no more.
    """

    def __init__(self, policy: EgressPolicy, lookup: Lookup = socket.getaddrinfo) -> None:
        self._policy, self._lookup = policy, lookup
        self._threads = ThreadPoolExecutor(DNS_THREADS, thread_name_prefix="dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name; every one of them is allowed."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, self._lookup, host, port, family, socket.SOCK_STREAM)
        for *_, address in found:
            check_address(self._policy, address[0], host)
        return [
            ResolveResult(
                hostname=host, host=address[0], port=port, family=fam, proto=proto, flags=socket.AI_NUMERICHOST
            )
            for fam, _, proto, _, address in found
        ]

    async def close(self) -> None:
        """Lets the threads go; one that still waits for an answer ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class GuardedConnector(aiohttp.TCPConnector):
    """Dials only what the policy allows: the last word is at the socket, on the very address about to be dialled.

    Literal addresses never see the resolver, and a name may resolve differently the next time (rebinding), so the
    socket is the only place that holds. Pooled connections are reused for the same host only.
    """

    def __init__(self, policy: EgressPolicy, lookup: Lookup, ssl: SSLContext | bool) -> None:
        self._policy, self._names = policy, GuardedResolver(policy, lookup)
        super().__init__(
            resolver=self._names,
            socket_factory=self._socket,
            ssl=ssl,
            limit=0,
            ttl_dns_cache=DNS_TTL_S,
            keepalive_timeout=KEEPALIVE_S,
        )

    def _socket(self, info: tuple[Any, ...]) -> socket.socket:
        family, kind, proto, _, address = info
        host = _url_host.get(None)
        if host is None:
            raise AddressDeniedError("a request went past the guard")
        check_address(self._policy, address[0], host)
        return socket.socket(family, kind, proto)

    async def close(self, *, abort_ssl: bool = False) -> None:
        """Closes connections and lets the resolver's threads go."""
        await super().close(abort_ssl=abort_ssl)
        await self._names.close()


class _Guard:
    """The middleware that every request passes: names the host to the socket, and judges the head of the answer."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes

    async def __call__(
        self, request: aiohttp.ClientRequest, send: Callable[[aiohttp.ClientRequest], Any]
    ) -> aiohttp.ClientResponse:
        host = request.url.raw_host or ""
        check_host(host)
        request.headers[hdrs.ACCEPT_ENCODING] = "identity"
        token = _url_host.set(host)
        try:
            response: aiohttp.ClientResponse = await send(request)
        finally:
            _url_host.reset(token)
        answer_head.set((response.status, response.headers))
        try:
            judge_reply(response.status, response.headers, self._max_bytes)
        except aiohttp.ClientError:
            response.close()
            raise
        response.content = cast(aiohttp.StreamReader, CappedBody(response.content, self._max_bytes))
        return response


def guarded_session(
    policy: EgressPolicy,
    max_bytes: int,
    *,
    lookup: Lookup = socket.getaddrinfo,
    ssl: SSLContext | bool = True,
) -> aiohttp.ClientSession:
    """Opens the session; call it inside the loop that will use it, once per process, and close it at the end.

    Enforced for every request, whatever an SDK asks for: the policy (host, resolver, socket), no redirect followed,
    no proxy or credentials from the environment, no cookies, no compressed answer, none above ``max_bytes``.
    A session belongs to one policy, since connections kept alive are not judged again.

    Args:
        policy: which addresses may be dialled.
        max_bytes: largest body of an answer.
        lookup: resolves names, as ``socket.getaddrinfo`` does.
        ssl: verifies certificates; True for the system's authorities.
    """
    return aiohttp.ClientSession(
        connector=GuardedConnector(policy, lookup, ssl),
        middlewares=(_Guard(max_bytes),),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
    )
