"""The local provider as its own process, spoken to by OpenAI's SDK and by raw HTTP."""

import asyncio
import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from embedded.chat_protocol import MODEL, count_tokens
from embedded.tickets import sample_tickets
from jobs.kinds.summarise_ticket import Ticket, TicketSummary, render
from tests.support.processes import is_running, needs_proc
from tests.support.waiting import wait_for

ROOT = Path(__file__).parents[2]
KEY = "local-test-key"
MESSAGES: list[Any] = [{"role": "user", "content": "The printer is broken. Please send somebody today."}]
SCHEMA = TicketSummary.model_json_schema()
FORMAT: Any = {"type": "json_schema", "json_schema": {"name": "ticket_summary", "strict": True, "schema": SCHEMA}}
STOP_S = 10


@dataclass
class Server:
    """A running server and the file that its standard error goes to."""

    process: "subprocess.Popen[bytes]"
    base_url: str
    log: Path

    def client(self, key: str = "any") -> AsyncOpenAI:
        return AsyncOpenAI(base_url=self.base_url, api_key=key, max_retries=0, timeout=30)


@contextmanager
def running(log: Path, *options: str, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server on a free port, killed at the end if it has not ended by then."""
    argv = (sys.executable, "-m", "embedded.local_provider", "--port", "0", *options)
    pipe = subprocess.PIPE
    with log.open("wb") as errors:
        env = {**os.environ, **(environment or {})}
        process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=errors, cwd=ROOT, env=env)
    with process:
        try:
            assert process.stdout
            yield Server(process, json.loads(process.stdout.readline())["base_url"], log)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that leave it as it was; at the end it has logged nothing."""
    with running(tmp_path_factory.mktemp("provider") / "log") as server:
        yield server
        server.process.terminate()
        assert server.process.wait(STOP_S) == 0
        assert server.log.read_bytes() == b""


async def test_all_sample_tickets_as_this_project_asks(server: Server) -> None:
    async def one(client: AsyncOpenAI, text: str) -> None:
        messages: list[Any] = [{"role": "system", "content": "Summarise."}, {"role": "user", "content": text}]
        done = await client.chat.completions.create(model=MODEL, messages=messages, response_format=FORMAT)
        content = done.choices[0].message.content or ""
        TicketSummary.model_validate_json(content)
        assert set(json.loads(content)) == set(TicketSummary.model_fields)
        assert done.choices[0].finish_reason == "stop"
        assert done.usage
        assert done.usage.prompt_tokens == count_tokens("Summarise.") + count_tokens(text)
        assert done.usage.completion_tokens == count_tokens(content)
        assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens

    async with server.client() as client:
        await asyncio.gather(*(one(client, render(Ticket.model_validate(raw))) for raw in sample_tickets()))


async def test_parsed_by_the_sdk(server: Server) -> None:
    async with server.client() as client:
        done = await client.chat.completions.parse(model=MODEL, messages=MESSAGES, response_format=TicketSummary)
    parsed = done.choices[0].message.parsed
    assert parsed
    assert parsed.action_items == ["Please send somebody today."]


def test_free_text_by_the_blocking_client(server: Server) -> None:
    with OpenAI(base_url=server.base_url, api_key="any", max_retries=0) as client:
        done = client.chat.completions.create(model=MODEL, messages=MESSAGES, temperature=0, seed=1)
    assert done.object == "chat.completion"
    assert done.id.startswith("chatcmpl-")
    assert done.model == MODEL
    assert done.choices[0].message.role == "assistant"
    assert done.choices[0].message.content in MESSAGES[0]["content"]


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("response_format", [{"type": "text"}, {"type": "json_object"}])
async def test_token_limit(server: Server, limit: str, response_format: Any) -> None:
    async with server.client() as client:
        create: Any = client.chat.completions.create
        whole = await create(model=MODEL, messages=MESSAGES, response_format=response_format)
        cut = await create(model=MODEL, messages=MESSAGES, response_format=response_format, **{limit: 3})
    assert (whole.choices[0].finish_reason, cut.choices[0].finish_reason) == ("stop", "length")
    assert cut.usage.completion_tokens == 3
    assert (whole.choices[0].message.content or "").startswith(cut.choices[0].message.content)


async def test_content_in_parts_and_the_last_message_of_the_user(server: Server) -> None:
    parts: Any = [{"type": "text", "text": "The lift is stuck."}, {"type": "text", "text": ""}]
    messages: list[Any] = [
        {"role": "user", "content": "Hello there, this is an earlier message."},
        {"role": "assistant", "content": "Noted."},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "And then?"},
    ]
    async with server.client() as client:
        done = await client.chat.completions.create(model=MODEL, messages=messages)
    assert done.choices[0].message.content == "The lift is stuck."


@pytest.mark.parametrize("text", ["", " ", "\x00", "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")])
async def test_nearly_empty_messages(server: Server, text: str) -> None:
    async with server.client() as client:
        done = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": text}], response_format=FORMAT
        )
    assert TicketSummary.model_validate_json(done.choices[0].message.content or "").action_items == []


async def test_models(server: Server) -> None:
    async with server.client() as client:
        assert [model.id async for model in client.models.list()] == [MODEL]
        assert (await client.models.retrieve(MODEL)).id == MODEL
        with pytest.raises(openai.NotFoundError) as caught:
            await client.models.retrieve("gpt-unknown")
    assert caught.value.code == "model_not_found"


def _request(**changed: Any) -> bytes:
    body = {"model": MODEL, "messages": MESSAGES, **changed}
    return json.dumps({name: value for name, value in body.items() if value is not ...}).encode()


BAD = {
    "no body": (b"", 400, None),
    "no JSON": (b'{"model": ', 400, None),
    "no UTF-8": (b'{"model": "\xff"}', 400, None),
    "an array": (b"[]", 400, None),
    "no model": (_request(model=...), 400, "model"),
    "unknown model": (_request(model="gpt-9"), 404, "model"),
    "model not text": (_request(model=7), 400, "model"),
    "no messages": (_request(messages=...), 400, "messages"),
    "empty messages": (_request(messages=[]), 400, "messages"),
    "messages not a list": (_request(messages="hi"), 400, "messages"),
    "no user message": (_request(messages=[{"role": "system", "content": "x"}]), 400, "messages"),
    "unknown role": (_request(messages=[{"role": "boss", "content": "x"}]), 400, "messages.0.role"),
    "no content": (_request(messages=[{"role": "user"}]), 400, "messages.0.content"),
    "an image": (_request(messages=[{"role": "user", "content": [{"type": "image_url"}]}]), 400, ...),
    "stream": (_request(stream=True), 400, "stream"),
    "n": (_request(n=2), 400, "n"),
    "no tokens": (_request(max_tokens=0), 400, "max_tokens"),
    "unknown format": (_request(response_format={"type": "xml"}), 400, "response_format.type"),
    "no schema": (_request(response_format={"type": "json_schema"}), 400, "response_format"),
    "bad schema": (
        _request(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 3}}}),
        400,
        "response_format",
    ),
    "too large": (_request(messages=[{"role": "user", "content": "x" * 5_000_000}]), 413, None),
}


@pytest.mark.parametrize(("body", "status", "param"), BAD.values(), ids=BAD)
async def test_bad_requests(server: Server, body: bytes, status: int, param: Any) -> None:
    url = f"{server.base_url}/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, data=io.BytesIO(body)) as response:
        answer = await response.json()
    assert response.status == status
    assert set(answer) == {"error"}
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert answer["error"]["type"] == "invalid_request_error"
    assert "printer" not in json.dumps(answer)
    if param is not ...:
        assert answer["error"]["param"] == param


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/chat/completions", 405), ("POST", "/embeddings", 404), ("GET", "/", 404)]
)
async def test_other_routes(server: Server, method: str, path: str, status: int) -> None:
    async with aiohttp.ClientSession() as session, session.request(method, server.base_url + path) as response:
        assert response.status == status
        assert "message" in (await response.json())["error"]


async def test_long_input_does_not_stop_the_others(server: Server) -> None:
    text = "The pump number seven fails again and again. " * 15_000
    async with server.client() as client:
        long = asyncio.create_task(
            client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}])
        )
        for _ in range(5):
            await client.models.list()
        done = await long
    assert done.usage
    assert done.usage.prompt_tokens == count_tokens(text)


async def test_clients_that_go_away_do_no_harm(server: Server) -> None:
    port = int(server.base_url.rsplit(":", 1)[1].removesuffix("/v1"))
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    for length, sent in ((100_000, _request()), (len(_request()), _request()), (10, b"")):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, not an end
            connection.sendall(head % length + sent)
    async with server.client() as client:
        assert await client.models.retrieve(MODEL)


def test_malformed_http_is_refused_and_not_quoted_in_the_log(tmp_path: Path) -> None:
    with running(tmp_path / "log") as server:
        port = int(server.base_url.rsplit(":", 1)[1].removesuffix("/v1"))
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(b"the secret printer is broken\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        server.process.terminate()
        assert server.process.wait(STOP_S) == 0
    assert b" 400 " in answer.splitlines()[0]
    assert b"printer" not in (tmp_path / "log").read_bytes()


async def test_a_key_is_asked_for_and_two_servers_live_side_by_side(server: Server, tmp_path: Path) -> None:
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    with running(tmp_path / "log", environment={"LOCAL_PROVIDER_KEY_SHA256": digest.upper()}) as locked:
        assert locked.base_url != server.base_url
        async with locked.client(KEY) as client, locked.client("wrong") as stranger, server.client() as other:
            await client.chat.completions.create(model=MODEL, messages=MESSAGES)
            await other.chat.completions.create(model=MODEL, messages=MESSAGES)
            with pytest.raises(openai.AuthenticationError) as caught:
                await stranger.models.list()
            assert caught.value.code == "invalid_api_key"
        async with aiohttp.ClientSession() as session:
            for header in ({}, {"Authorization": KEY}, {"Authorization": f"Basic {KEY}"}, {"Authorization": "Bearer "}):
                async with session.get(f"{locked.base_url}/models", headers=header) as response:
                    assert response.status == 401


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signal")
def test_an_interrupt_ends_it_cleanly(tmp_path: Path) -> None:  # SIGTERM ends the server that the other tests use
    with running(tmp_path / "log") as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(STOP_S) == 0
    assert (tmp_path / "log").read_bytes() == b""


def test_it_ends_with_its_input(tmp_path: Path) -> None:
    with running(tmp_path / "log", "--exit-with-stdin") as server:
        assert server.process.stdin
        assert server.process.poll() is None
        server.process.stdin.close()
        assert server.process.wait(STOP_S) == 0


@needs_proc
def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    starter = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-m", "embedded.local_provider"], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
"""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", starter], stdin=pipe, stdout=pipe, cwd=ROOT) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.kill()
    wait_for(lambda: not is_running(pid), "end of the server")
