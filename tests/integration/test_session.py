"""The guarded session: what it dials and what it refuses, on real sockets."""

import asyncio
import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from config.egress import EgressPolicy
from config.errors import CallError, EgressDeniedError, ProviderRejectedError, ProviderUnreachableError
from config.providers import Provider, ProviderType
from config.settings import Settings
from jobs.chat import ChatRequest, Message
from tests.support import fault_server as faults
from tests.support.fault_server import FaultServer
from worker.adapters import make_adapter
from worker.adapters.faults import chain_of
from worker.reply import RedirectRefusedError, ReplyEncodedError, ReplyTooLargeError
from worker.session import DNS_THREADS, AddressDeniedError, GuardedConnector, check_host, guarded_session

MAX_BYTES = 10_000
POLICY = EgressPolicy()
PUBLIC = "93.184.216.34"
TYPES: list[tuple[ProviderType, str]] = [
    ("openai-compatible", "google-genai"),
    ("groq", "google-genai"),
    ("gemini", "google-genai"),
    ("gemini", "google-generativeai"),
]


def answering(*addresses: str) -> Callable[..., list[tuple[Any, ...]]]:
    """A name server that knows these addresses for every name."""

    def lookup(host: str, port: int, *rest: Any) -> list[tuple[Any, ...]]:
        found = [(socket.AF_INET6 if ":" in address else socket.AF_INET, address) for address in addresses]
        return [(family, socket.SOCK_STREAM, 6, "", (address, port)) for family, address in found]

    return lookup


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    async with FaultServer(faults.answer({"ok": True})) as server:
        yield server


async def denied(session: aiohttp.ClientSession, url: str) -> None:
    with pytest.raises(aiohttp.ClientError) as caught:
        await session.get(url)
    assert any(isinstance(link, AddressDeniedError) for link in chain_of(caught.value))


async def test_localhost_is_reached_by_name_and_by_address(server: FaultServer) -> None:
    async with guarded_session(POLICY, MAX_BYTES) as session:
        for host in ("localhost", "127.0.0.1"):
            async with session.get(f"http://{host}:{server.port}/") as answer:
                assert await answer.json() == {"ok": True}


def test_an_odd_spelling_is_refused_each_time() -> None:
    for _ in range(3):
        check_host("127.0.0.1")  # what is allowed is remembered
        with pytest.raises(AddressDeniedError):
            check_host("127.1")


@pytest.mark.parametrize(
    "host",
    [
        *("10.0.0.1", "192.168.0.1", "169.254.169.254", "168.63.129.16", "100.64.0.1", "192.0.0.192", "0.0.0.0"),
        *("[fd00:ec2::254]", "[fe80::1]", "[::]", "[::ffff:10.0.0.1]", "[::ffff:a9fe:a9fe]", "[64:ff9b::a00:1]"),
        *("127.1", "2130706433", "0177.0.0.1", "1.1.1", "0x7f.1", "0x7f000001"),
    ],
)
async def test_a_literal_that_may_not_be_dialled(host: str) -> None:
    async with guarded_session(POLICY, MAX_BYTES, lookup=answering("127.0.0.1")) as session:
        await denied(session, f"http://{host}:9/")


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["::1"], ["10.0.0.1"], [PUBLIC, "127.0.0.1"], ["::ffff:127.0.0.1"]], ids=str
)
async def test_a_public_name_for_a_private_address(server: FaultServer, addresses: list[str]) -> None:
    async with guarded_session(POLICY, MAX_BYTES, lookup=answering(*addresses)) as session:
        await denied(session, f"http://api.example.com:{server.port}/")
    assert not server.exchanges


async def test_the_socket_has_the_last_word(server: FaultServer) -> None:
    class Lying(AbstractResolver):
        """Stands for a resolver that was deceived: the name resolves to something else a moment later."""

        async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
            return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=6, flags=0)]

        async def close(self) -> None:
            pass

    async with guarded_session(POLICY, MAX_BYTES) as session:
        assert isinstance(session.connector, GuardedConnector)
        session.connector._resolver = Lying()
        await denied(session, f"http://api.example.com:{server.port}/")
        assert (await session.get(f"http://localhost:{server.port}/")).status == 200
    assert len(server.exchanges) == 1


async def test_a_request_past_the_guard_is_not_dialled(server: FaultServer) -> None:
    async with guarded_session(POLICY, MAX_BYTES) as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"{server.url}/", middlewares=())


async def test_an_allowed_host_and_an_allowed_network(server: FaultServer) -> None:
    url = f"http://gateway.internal:{server.port}/"
    hosts = EgressPolicy(allow_hosts=frozenset({"gateway.internal"}))
    nets = EgressPolicy(allow_nets=(ipaddress.ip_network("127.0.0.0/8"),))
    for policy in (hosts, nets):
        async with guarded_session(policy, MAX_BYTES, lookup=answering("127.0.0.1")) as session:
            assert (await session.get(url)).status == 200
    async with guarded_session(hosts, MAX_BYTES, lookup=answering("127.0.0.1")) as session:
        await denied(session, f"http://other.internal:{server.port}/")


async def test_concurrent_hosts_are_judged_each_by_its_own_name(server: FaultServer) -> None:
    policy = EgressPolicy(allow_hosts=frozenset({"gateway.internal"}))
    async with guarded_session(policy, MAX_BYTES, lookup=answering("127.0.0.1")) as session:
        names = ["gateway.internal", "api.example.com"] * 20
        results = await asyncio.gather(
            *(session.get(f"http://{name}:{server.port}/") for name in names), return_exceptions=True
        )
    for name, result in zip(names, results, strict=True):
        assert isinstance(result, aiohttp.ClientResponse) == (name == "gateway.internal")


async def test_names_are_remembered_for_a_while_and_connections_are_kept(server: FaultServer) -> None:
    asked = []

    def lookup(host: str, port: int, *rest: Any) -> list[tuple[Any, ...]]:
        asked.append(host)
        return answering("127.0.0.1")(host, port)

    policy = EgressPolicy(allow_hosts=frozenset({"gateway.internal"}))
    async with guarded_session(policy, MAX_BYTES, lookup=lookup) as session:
        for _ in range(3):
            async with session.get(f"http://gateway.internal:{server.port}/") as answer:
                await answer.read()
        await asyncio.gather(*(session.get(f"http://gateway.internal:{server.port}/") for _ in range(5)))
    assert asked == ["gateway.internal"]
    ports = {exchange.writer.get_extra_info("peername")[1] for exchange in server.exchanges}
    assert len(server.exchanges) == 8
    assert len(ports) == 5


async def test_a_dead_name_server_holds_up_nothing_else(server: FaultServer) -> None:
    over = threading.Event()

    def never(*question: Any) -> list[tuple[Any, ...]]:
        over.wait(10)
        return []

    async with guarded_session(POLICY, MAX_BYTES, lookup=never) as session, asyncio.timeout(5):
        waiting = [asyncio.create_task(session.get(f"http://host{n}.example.com/")) for n in range(DNS_THREADS * 4)]
        await asyncio.sleep(0)
        assert await asyncio.gather(*(asyncio.to_thread(int, n) for n in range(40))) == list(range(40))
        assert (await session.get(f"{server.url}/")).status == 200
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        over.set()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_refused_even_if_asked_for(server: FaultServer, status: int) -> None:
    async with (
        FaultServer(faults.answer(b"", status, location=server.url)) as first,
        guarded_session(POLICY, MAX_BYTES) as session,
    ):
        with pytest.raises(RedirectRefusedError):
            await session.post(first.url, allow_redirects=True, data=b"prompt")
    assert not server.exchanges


async def test_no_cookie_is_kept_and_plain_is_asked_for() -> None:
    async with (
        FaultServer(faults.answer({}, set_cookie="a=b")) as server,
        guarded_session(POLICY, MAX_BYTES) as session,
    ):
        for _ in range(2):
            await session.get(server.url, headers={"Accept-Encoding": "gzip, br, zstd"})
    for exchange in server.exchanges:
        assert "cookie" not in exchange.headers
        assert exchange.headers["accept-encoding"] == "identity"


async def by_read(answer: aiohttp.ClientResponse) -> None:
    await answer.read()


async def by_part(answer: aiohttp.ClientResponse) -> None:
    while await answer.content.read(100):
        pass


async def by_chunk(answer: aiohttp.ClientResponse) -> None:
    async for _ in answer.content.iter_chunked(100):
        pass


async def by_any_chunk(answer: aiohttp.ClientResponse) -> None:
    async for _ in answer.content.iter_any():
        pass


@pytest.mark.parametrize("way", [by_read, by_part, by_chunk, by_any_chunk])
async def test_answers_are_capped_however_they_are_read(way: Callable[[aiohttp.ClientResponse], Any]) -> None:
    async with (
        FaultServer(faults.flood) as server,
        guarded_session(POLICY, MAX_BYTES) as session,
        session.get(server.url) as answer,
    ):
        with pytest.raises(ReplyTooLargeError):
            await way(answer)


async def test_there_is_no_other_way_to_read(server: FaultServer) -> None:
    async with guarded_session(POLICY, MAX_BYTES) as session, session.get(server.url) as answer:
        with pytest.raises(AttributeError):
            await answer.content.readline()


async def test_an_answer_of_the_largest_size_is_read() -> None:
    async with (
        FaultServer(faults.answer(b"x" * MAX_BYTES)) as server,
        guarded_session(POLICY, MAX_BYTES) as session,
        session.get(server.url) as answer,
    ):
        assert len(await answer.read()) == MAX_BYTES


async def test_a_compressed_answer_is_refused_unread() -> None:
    async with FaultServer(faults.zipped(50_000_000)) as server, guarded_session(POLICY, MAX_BYTES) as session:
        with pytest.raises(ReplyEncodedError):
            await session.get(server.url)


def _self_signed(folder: Path) -> ssl.SSLContext:
    """A server's context with a certificate that no authority signed, for a name that is not ours."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "elsewhere.example.com")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    (folder / "cert.pem").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


async def call(type_: ProviderType, sdk: str, session: aiohttp.ClientSession, url: str) -> CallError:
    """The error that a call over an adapter ends with."""
    provider = Provider(id="p", name="P", type=type_, base_url=url, default_model="m", timeout_s=5)
    adapter = make_adapter(provider, "sk-1", session, Settings(gemini_sdk=sdk))
    with pytest.raises(CallError) as caught:
        await adapter.complete("m", ChatRequest((Message("user", "hi"),)))
    return caught.value


@pytest.mark.parametrize(("type_", "sdk"), TYPES)
async def test_a_certificate_that_cannot_be_trusted_is_final(type_: ProviderType, sdk: str, tmp_path: Path) -> None:
    async with (
        FaultServer(faults.answer({}), ssl=_self_signed(tmp_path)) as server,
        guarded_session(POLICY, MAX_BYTES) as session,
    ):
        error = await call(type_, sdk, session, server.url)
    assert type(error) is ProviderRejectedError
    assert "certificate" in str(error)
    assert not server.exchanges


@pytest.mark.parametrize(("type_", "sdk"), TYPES)
async def test_what_adapters_make_of_names(type_: ProviderType, sdk: str, server: FaultServer) -> None:
    def unknown(*question: Any) -> list[tuple[Any, ...]]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with guarded_session(POLICY, MAX_BYTES, lookup=unknown) as session:
        error = await call(type_, sdk, session, "https://api.example.com")
        assert type(error) is ProviderUnreachableError
        assert "resolved" in str(error)
    async with guarded_session(POLICY, MAX_BYTES, lookup=answering("127.0.0.1")) as session:
        error = await call(type_, sdk, session, f"http://api.example.com:{server.port}")
        assert type(error) is EgressDeniedError
    assert not server.exchanges


@pytest.mark.parametrize(("type_", "sdk"), TYPES)
async def test_plain_http_where_tls_is_expected(type_: ProviderType, sdk: str) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(faults.head(400))
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with guarded_session(POLICY, MAX_BYTES) as session:
            error = await call(type_, sdk, session, f"https://127.0.0.1:{port}")
    assert type(error) is ProviderUnreachableError
    assert "TLS" in str(error)
