"""The contract that every adapter keeps, over real HTTP: the same tests for all SDKs."""

import asyncio
import base64
import logging
import os
import pickle
import socket
import traceback
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import pytest

from config.egress import EgressPolicy
from config.errors import (
    CallError,
    EgressDeniedError,
    OutputRefusedError,
    OutputTruncatedError,
    ProviderAuthError,
    ProviderConnectionError,
    ProviderRateLimitedError,
    ProviderRejectedError,
    ProviderReplyError,
    ProviderServerError,
    ProviderTimeoutError,
    ProviderUnreachableError,
)
from config.providers import Capabilities, Provider, ProviderType
from config.settings import Settings
from jobs.chat import ChatRequest, Image, Message, Usage
from tests.support import fault_server as faults
from tests.support.fault_server import FaultServer, Play
from tests.support.llm_server import LLMServer
from worker.adapters import Adapter, make_adapter, quiet_sdks, scrub_environment
from worker.session import answer_head, guarded_session

KEY = "sk-Secret-0123456789"
PROMPT = "my card number is 4242"
MAX_BYTES = 64 * 1024
SCHEMA = {
    "type": "object",
    "properties": {"summary": {"type": "string", "maxLength": 300}, "urgent": {"type": "boolean"}},
    "required": ["summary"],
}
REQUEST = ChatRequest((Message("system", "Be brief."), Message("user", PROMPT)), 100, 0.5)


@dataclass(frozen=True)
class Wire:
    """One adapter under test: what makes it, and how its provider says things."""

    type: ProviderType
    sdk: str
    url: Callable[[LLMServer], str]
    text: Callable[..., dict[str, Any]]
    refusal: dict[str, Any]
    length: str

    def settings(self) -> Settings:
        """Settings of a worker that uses it."""
        return Settings(gemini_sdk=self.sdk, response_max_bytes=MAX_BYTES)

    def provider(self, base_url: str, timeout_s: float = 5.0, *, native: bool = True) -> Provider:
        """A provider of that type."""
        return Provider(
            id="custom-p",
            name="P",
            type=self.type,
            base_url=base_url,
            default_model="m",
            timeout_s=timeout_s,
            capabilities=Capabilities(structured_output=native),
        )


def openai_text(text: str | None = "hello", finish: str = "stop", **message: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
    return {"model": "m-1", "choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}


def gemini_text(text: str | None = "hello", finish: str = "STOP", **part: Any) -> dict[str, Any]:
    content = {"role": "model", "parts": [{"text": text, **part}] if text is not None else []}
    counted = {"promptTokenCount": 7, "candidatesTokenCount": 3, "totalTokenCount": 10}
    return {"candidates": [{"content": content, "finishReason": finish}], "usageMetadata": counted}


OPENAI_REFUSAL = openai_text(None, refusal="I will not.")
GEMINI_REFUSAL = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 7}}
WIRES = {
    "openai": Wire("openai-compatible", "google-genai", lambda s: s.openai_url, openai_text, OPENAI_REFUSAL, "length"),
    "groq": Wire("groq", "google-genai", lambda s: s.groq_url, openai_text, OPENAI_REFUSAL, "length"),
    "gemini": Wire("gemini", "google-genai", lambda s: s.gemini_url, gemini_text, GEMINI_REFUSAL, "MAX_TOKENS"),
    "gemini-legacy": Wire(
        "gemini", "google-generativeai", lambda s: s.gemini_url, gemini_text, GEMINI_REFUSAL, "MAX_TOKENS"
    ),
}


@pytest.fixture(params=list(WIRES.values()), ids=list(WIRES))
def wire(request: pytest.FixtureRequest) -> Wire:
    wire: Wire = request.param
    return wire


@pytest.fixture
async def session(wire: Wire) -> AsyncIterator[aiohttp.ClientSession]:
    settings = wire.settings()
    async with guarded_session(settings.egress, settings.response_max_bytes) as session:
        yield session


@pytest.fixture
def scripted(llm: LLMServer, wire: Wire, session: aiohttp.ClientSession) -> Adapter:
    """An adapter that calls llmock."""
    llm.reset()
    return make_adapter(wire.provider(wire.url(llm)), KEY, session, wire.settings())


async def failure(adapter: Adapter, request: ChatRequest = REQUEST) -> CallError:
    """The error that a call ends with; nothing of it or behind it quotes key or prompt."""
    with pytest.raises(CallError) as caught:
        await adapter.complete("m", request)
    error = caught.value
    shown = (
        "".join(traceback.format_exception(error)) + repr(error) + str(error) + repr(pickle.loads(pickle.dumps(error)))
    )
    assert KEY not in shown
    assert PROMPT not in shown
    assert error.__cause__ is None
    assert error.__context__ is None
    return error


async def meets(play: Play, wire: Wire, session: aiohttp.ClientSession, timeout_s: float = 5.0) -> CallError:
    """The error that a call to a misbehaving server ends with; one request is sent, whatever happens."""
    async with FaultServer(play) as server:
        adapter = make_adapter(wire.provider(server.url, timeout_s), KEY, session, wire.settings())
        error = await failure(adapter)
        assert len(server.exchanges) == 1
        return error


async def test_an_answer_with_its_usage(llm: LLMServer, scripted: Adapter) -> None:
    llm.scenario([{"type": "reply", "text": "Paris."}])
    reply = await scripted.complete("gemini-2.0-flash", REQUEST)
    assert reply.text == "Paris."
    assert reply.usage.input_tokens > 0
    assert reply.usage.output_tokens > 0
    assert reply.model == "gemini-2.0-flash"
    [request] = llm.requests()
    assert PROMPT in str(request["body"])
    assert "100" in str(request["body"])
    assert "0.5" in str(request["body"])


async def test_roles_and_bounds_reach_the_wire(wire: Wire, session: aiohttp.ClientSession) -> None:
    talk = replace(REQUEST, messages=(*REQUEST.messages, Message("assistant", "ok"), Message("user", "and now?")))
    async with FaultServer(faults.answer(wire.text())) as server:
        reply = await make_adapter(wire.provider(server.url), KEY, session, wire.settings()).complete("m", talk)
    assert reply.text == "hello"
    assert reply.usage == Usage(7, 3)
    [exchange] = server.exchanges
    assert exchange.headers["accept-encoding"] == "identity"
    body = exchange.json
    if wire.type == "gemini":
        assert [turn["role"] for turn in body["contents"]] == ["user", "model", "user"]
        assert body["systemInstruction"]["parts"][0]["text"] == "Be brief."
        assert body["generationConfig"]["maxOutputTokens"] == 100
        assert exchange.headers["x-goog-api-key"] == KEY
    else:
        assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "user"]
        assert body.get("max_tokens", body.get("max_completion_tokens")) == 100
        assert exchange.headers["authorization"] == f"Bearer {KEY}"


async def test_structured_output_is_asked_for_natively(wire: Wire, session: aiohttp.ClientSession) -> None:
    async with FaultServer(faults.answer(wire.text('{"summary": "s"}'))) as server:
        adapter = make_adapter(wire.provider(server.url), KEY, session, wire.settings())
        await adapter.complete("m", replace(REQUEST, json_schema=SCHEMA))
    body = server.exchanges[0].json
    if wire.type == "gemini":
        assert body["generationConfig"]["responseMimeType"] == "application/json"
        schema = body["generationConfig"].get("responseJsonSchema")
        assert schema is None or schema["required"] == ["summary", "urgent"]
    else:
        asked = body["response_format"]["json_schema"]
        assert asked["strict"] is True
        assert asked["schema"]["required"] == ["summary", "urgent"]
        assert asked["schema"]["additionalProperties"] is False


async def test_images_are_sent_where_the_provider_can(wire: Wire, session: aiohttp.ClientSession) -> None:
    pixel = Image("image/png", base64.b64encode(b"\x89PNG of a screenshot").decode())
    request = ChatRequest((Message("user", PROMPT, (pixel, pixel)),))
    async with FaultServer(faults.answer(wire.text())) as server:
        provider = wire.provider(server.url)
        blind = make_adapter(provider, KEY, session, wire.settings())
        refused = await failure(blind, request)
        assert (type(refused), server.exchanges) == (ProviderRejectedError, [])
        assert "--multimodal" in str(refused)
        sees = provider.model_copy(update={"capabilities": Capabilities(multimodal=True)})
        assert (await make_adapter(sees, KEY, session, wire.settings()).complete("m", request)).text == "hello"
    [exchange] = server.exchanges
    assert exchange.body.count(pixel.base64.encode()) == 2
    assert exchange.body.count(b"image/png") == 2
    assert PROMPT in exchange.body.decode()


async def test_without_the_capability_the_schema_is_an_instruction(wire: Wire, session: aiohttp.ClientSession) -> None:
    async with FaultServer(faults.answer(wire.text("{}"))) as server:
        adapter = make_adapter(wire.provider(server.url, native=False), KEY, session, wire.settings())
        await adapter.complete("m", replace(REQUEST, json_schema=SCHEMA))
    [exchange] = server.exchanges
    assert b"JSON schema" in exchange.body
    assert b"response_format" not in exchange.body
    assert b"responseMimeType" not in exchange.body


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, ProviderRejectedError),
        (401, ProviderAuthError),
        (402, ProviderRejectedError),
        (403, ProviderRejectedError),
        (404, ProviderRejectedError),
        (408, ProviderServerError),
        (409, ProviderServerError),
        (422, ProviderRejectedError),
        (429, ProviderRateLimitedError),
        (500, ProviderServerError),
        (502, ProviderServerError),
        (503, ProviderServerError),
        (529, ProviderServerError),
    ],
)
async def test_a_status_is_one_request_and_one_error(
    llm: LLMServer, scripted: Adapter, status: int, expected: type[CallError]
) -> None:
    llm.scenario([{"type": "fail", "status": status, "retry_after": 7.5, "message": PROMPT, "times": None}])
    error = await failure(scripted)
    assert type(error) is expected
    assert error.status == status
    assert error.retry_after_s == 7.5
    assert str(status) in str(error)
    assert len(llm.requests()) == 1


@pytest.mark.parametrize("status", [401, 429, 500, 503])
@pytest.mark.parametrize("content_type", ["text/html", "application/json"])
async def test_a_status_counts_whatever_comes_with_it(
    wire: Wire, session: aiohttp.ClientSession, status: int, content_type: str
) -> None:
    for body in (
        b"<html>upstream</html>",
        b"",
        b"[]",
        b'["x"]',
        b"null",
        b"7",
        {"error": "x"},
        {"error": {"code": [1]}},
    ):
        play = faults.answer(body, status, content_type=content_type, retry_after=3)
        error = await meets(play, wire, session)
        assert error.status == status
        assert error.retry_after_s == 3


async def test_a_code_is_shown_only_if_it_is_a_plain_word(wire: Wire, session: aiohttp.ClientSession) -> None:
    def body(code: str) -> dict[str, Any]:
        return {"error": {"code": code, "status": code, "message": PROMPT}}

    assert "(model_not_found)" in str(await meets(faults.answer(body("model_not_found"), 404), wire, session))
    for code in (KEY, PROMPT, "x" * 80, "Secret"):
        assert "(" not in str(await meets(faults.answer(body(code), 404), wire, session))


@pytest.mark.parametrize(
    ("play", "expected"),
    [
        (faults.cut_at_once, ProviderConnectionError),
        (faults.cut_body, ProviderConnectionError),
        (faults.garbage, ProviderReplyError),
        (faults.flood, ProviderReplyError),
        (faults.answer(b" " * (MAX_BYTES + 1)), ProviderReplyError),
        (faults.zipped(50_000_000), ProviderReplyError),
        (faults.answer(b'{"choices": [{"mess'), ProviderReplyError),
        (faults.answer(b"Hello, I am a web page", content_type="text/html"), ProviderReplyError),
        (faults.answer(b"\xff\xfe\x00"), ProviderReplyError),
        (faults.answer(b""), ProviderReplyError),
        (faults.answer(b"[]"), ProviderReplyError),
        (faults.answer(b"null"), ProviderReplyError),
        (faults.answer({}), ProviderReplyError),
        (faults.answer({"choices": [], "candidates": []}), ProviderReplyError),
        (faults.answer({"choices": "x", "candidates": "x"}), ProviderReplyError),
        (faults.answer(b'{"choices": ' + b"[" * 5000), ProviderReplyError),
    ],
    ids=[
        *("cut at once", "cut body", "not HTTP", "endless", "too large", "gzip bomb", "truncated JSON", "not JSON"),
        *("not UTF-8", "empty", "a list", "null", "empty object", "no choices", "wrong types", "deep"),
    ],
)
async def test_a_broken_answer(
    wire: Wire, session: aiohttp.ClientSession, play: Play, expected: type[CallError]
) -> None:
    error = await meets(play, wire, session)
    assert type(error) is expected
    assert error.retryable


async def test_no_text_is_no_answer(wire: Wire, session: aiohttp.ClientSession) -> None:
    assert type(await meets(faults.answer(wire.text(None)), wire, session)) is ProviderReplyError


async def test_a_refusal_and_a_truncation(wire: Wire, session: aiohttp.ClientSession) -> None:
    refused = await meets(faults.answer(wire.refusal), wire, session)
    assert (type(refused), refused.input_tokens) == (OutputRefusedError, 7)
    cut = await meets(faults.answer(wire.text("hel", wire.length)), wire, session)
    assert (type(cut), cut.input_tokens, cut.output_tokens) == (OutputTruncatedError, 7, 3), "it was paid for"


@pytest.mark.parametrize("play", [faults.hang, faults.drip], ids=["hang", "drip"])
async def test_the_deadline_is_total_and_ends_the_call(wire: Wire, session: aiohttp.ClientSession, play: Play) -> None:
    async with FaultServer(play) as server:
        adapter = make_adapter(wire.provider(server.url, 0.3), KEY, session, wire.settings())
        async with asyncio.timeout(2):
            error = await failure(adapter)
            [exchange] = server.exchanges
            await exchange.gone.wait()
    assert type(error) is ProviderTimeoutError
    assert "0.3 s" in str(error)


async def test_cancelling_ends_the_call(wire: Wire, session: aiohttp.ClientSession) -> None:
    async with FaultServer(faults.hang) as server, asyncio.timeout(3):
        adapter = make_adapter(wire.provider(server.url, 30), KEY, session, wire.settings())
        call = asyncio.create_task(adapter.complete("m", REQUEST))
        await server.met.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await server.exchanges[0].gone.wait()


async def test_connection_refused(wire: Wire, session: aiohttp.ClientSession) -> None:
    async with FaultServer(faults.hang) as server:
        url = server.url
    error = await failure(make_adapter(wire.provider(url), KEY, session, wire.settings()))
    assert type(error) is ProviderUnreachableError


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(wire: Wire, session: aiohttp.ClientSession, status: int) -> None:
    async with FaultServer(faults.answer(wire.text())) as other:
        error = await meets(faults.answer(b"", status, location=other.url), wire, session)
        assert not other.exchanges
    assert type(error) is ProviderRejectedError
    assert error.status == status


@pytest.mark.parametrize("url", ["http://10.0.0.1", "http://169.254.169.254", "http://[fd00::1]", "http://127.1"])
async def test_denied_addresses(wire: Wire, session: aiohttp.ClientSession, url: str) -> None:
    error = await failure(make_adapter(wire.provider(url), KEY, session, wire.settings()))
    assert type(error) is EgressDeniedError
    assert not error.retryable


HOSTILE_ENVIRONMENT = {
    **{f"{name}_API_KEY": "sk-of-the-environment" for name in ("OPENAI", "GROQ", "GEMINI", "GOOGLE")},
    **{f"{name}_BASE_URL": "http://127.0.0.1:9" for name in ("OPENAI", "GROQ", "GOOGLE_GEMINI")},
    **{f"{name}_CUSTOM_HEADERS": "authorization: Bearer sk-of-the-environment" for name in ("OPENAI", "GROQ")},
    **{name: "http://127.0.0.1:9" for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy")},
    "OPENAI_ORG_ID": "sk-of-the-environment",
    "OPENAI_PROJECT_ID": "sk-of-the-environment",
    "OPENAI_ADMIN_KEY": "sk-of-the-environment",
    "GOOGLE_GENAI_USE_VERTEXAI": "true",
    "GOOGLE_CLOUD_PROJECT": "p",
    "GOOGLE_GENAI_API_VERSION": "v9",
    "VAULT_TOKEN": "t",
}


async def test_the_environment_changes_nothing(
    wire: Wire, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in HOSTILE_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    async with FaultServer(faults.answer(wire.text())) as server:
        adapter = make_adapter(wire.provider(server.url), KEY, session, wire.settings())
        assert (await adapter.complete("m", REQUEST)).text == "hello"
    [exchange] = server.exchanges
    assert "sk-of-the-environment" not in str(exchange.headers)
    assert KEY in str(exchange.headers)
    assert "v9" not in exchange.line


async def test_a_server_here_needs_no_key(wire: Wire, session: aiohttp.ClientSession) -> None:
    async with FaultServer(faults.answer(wire.text())) as server:
        adapter = make_adapter(wire.provider(server.url), None, session, wire.settings())
        await adapter.complete("m", REQUEST)
    headers = server.exchanges[0].headers
    assert "authorization" not in headers
    assert headers.get("x-goog-api-key", "none") == "none"


@pytest.mark.parametrize("key", ["sk-ö", "sk\nx", "a b"])
async def test_a_key_that_cannot_be_sent(wire: Wire, session: aiohttp.ClientSession, key: str) -> None:
    with pytest.raises(ProviderAuthError) as caught:
        make_adapter(wire.provider("http://127.0.0.1:9"), key, session, wire.settings())
    assert key not in str(caught.value)


async def test_nothing_is_said_of_key_or_prompt(
    llm: LLMServer, scripted: Adapter, caplog: pytest.LogCaptureFixture
) -> None:
    quiet_sdks()
    with caplog.at_level(logging.DEBUG):
        llm.scenario([{"type": "fail", "status": 400, "message": PROMPT}])
        await failure(scripted)
        await scripted.complete("m", REQUEST)
    assert KEY not in caplog.text + repr(scripted)
    assert PROMPT not in caplog.text


async def test_fifty_calls_at_once(llm: LLMServer, scripted: Adapter) -> None:
    llm.scenario([{"type": "reply", "text": f"answer {n}"} for n in range(50)])
    replies = await asyncio.gather(*(scripted.complete("m", REQUEST) for _ in range(50)))
    assert {reply.text for reply in replies} == {f"answer {n}" for n in range(50)}


async def test_keys_do_not_mix(wire: Wire, session: aiohttp.ClientSession) -> None:
    async with FaultServer(faults.answer(wire.text())) as server:
        adapters = [
            make_adapter(wire.provider(f"{server.url}/{n}"), f"key-{n}", session, wire.settings()) for n in range(8)
        ]
        await asyncio.gather(*(adapter.complete("m", REQUEST) for adapter in adapters * 4))
    assert len(server.exchanges) == 32
    for exchange in server.exchanges:
        number = exchange.line.split("/")[1]
        assert f"key-{number}" in str(exchange.headers)


@pytest.mark.parametrize("wire", [WIRES["gemini"], WIRES["gemini-legacy"]], ids=["gemini", "gemini-legacy"])
async def test_googles_own_words(wire: Wire, session: aiohttp.ClientSession) -> None:
    kind = "type.googleapis.com/google.rpc"
    wrong_key = {"@type": f"{kind}.ErrorInfo", "reason": "API_KEY_INVALID"}
    error = await meets(faults.answer({"error": {"code": 400, "details": [wrong_key]}}, 400), wire, session)
    assert type(error) is ProviderAuthError
    wait = {"@type": f"{kind}.RetryInfo", "retryDelay": "12.5s"}
    error = await meets(faults.answer({"error": {"code": 429, "details": [wait]}}, 429), wire, session)
    assert type(error) is ProviderRateLimitedError
    assert error.retry_after_s == 12.5
    for reason in ("SAFETY", "RECITATION", "PROHIBITED_CONTENT"):
        assert type(await meets(faults.answer(gemini_text(None, reason)), wire, session)) is OutputRefusedError


@pytest.mark.parametrize("wire", [WIRES["groq"], WIRES["gemini"], WIRES["gemini-legacy"]], ids=lambda w: w.sdk)
async def test_a_base_url_may_end_in_the_api_version(wire: Wire, session: aiohttp.ClientSession) -> None:
    ending = {"groq": "/openai/v1", "gemini": "/v1beta"}[wire.type]
    async with FaultServer(faults.answer(wire.text())) as server:
        for base_url in (server.url, server.url + ending):
            await make_adapter(wire.provider(base_url), KEY, session, wire.settings()).complete("m", REQUEST)
    first, second = server.exchanges
    assert first.line == second.line


@pytest.mark.parametrize("wire", [WIRES["gemini"], WIRES["gemini-legacy"]], ids=["gemini", "gemini-legacy"])
@pytest.mark.parametrize("model", ["../../files", "m/../../files", "m?x=1", "m#x", "m:embed", "", "a b", "m%2f"])
async def test_a_model_is_no_path(wire: Wire, session: aiohttp.ClientSession, model: str) -> None:
    async with FaultServer(faults.answer(wire.text())) as server:
        adapter = make_adapter(wire.provider(server.url), KEY, session, wire.settings())
        with pytest.raises(ProviderRejectedError):
            await adapter.complete(model, REQUEST)
    assert not server.exchanges


@pytest.mark.parametrize(
    ("host", "field"), [("api.openai.com", "max_completion_tokens"), ("llm.example.com", "max_tokens")]
)
async def test_the_bound_of_an_answer_has_two_names(host: str, field: str) -> None:
    wire = WIRES["openai"]

    def here(name: str, port: int, *rest: Any) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async with (
        FaultServer(faults.answer(wire.text())) as server,
        guarded_session(EgressPolicy(allow_hosts=frozenset({host})), MAX_BYTES, lookup=here) as session,
    ):
        provider = wire.provider(f"http://{host}:{server.port}/v1")
        await make_adapter(provider, KEY, session, wire.settings()).complete("m", REQUEST)
    assert server.exchanges[0].json[field] == 100


def test_the_environment_is_scrubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in HOSTILE_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TICKETFLOW_VAULT_TOKEN", "ours")
    scrub_environment()
    assert not HOSTILE_ENVIRONMENT.keys() & os.environ.keys()
    assert os.environ["TICKETFLOW_VAULT_TOKEN"] == "ours"


@pytest.mark.parametrize("status", [200, 429])
async def test_the_headers_of_an_answer_can_be_read_after_it(
    wire: Wire, session: aiohttp.ClientSession, status: int
) -> None:
    """By whoever called, so that limits may be lowered by them."""
    play = faults.answer(wire.text(), status, x_ratelimit_remaining_requests=0)
    answer_head.set((0, {}))
    async with FaultServer(play) as server:
        adapter = make_adapter(wire.provider(server.url), KEY, session, wire.settings())
        try:
            await adapter.complete("m", REQUEST)
        except ProviderRateLimitedError:
            assert status == 429
    assert answer_head.get()[0] == status
    assert answer_head.get()[1].get("x-ratelimit-remaining-requests") == "0"
