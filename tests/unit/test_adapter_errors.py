"""The door for foreign errors: every class that an SDK can raise leaves an adapter as a ``CallError``."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from email.utils import formatdate
from typing import Any, get_args

import aiohttp
import groq
import httpx
import httpx2
import openai
import pytest
from google.api_core import exceptions as core
from google.genai import errors as genai_errors

from config.errors import (
    CallError,
    InternalError,
    OutputRefusedError,
    ProviderAuthError,
    ProviderConnectionError,
    ProviderRateLimitedError,
    ProviderRejectedError,
    ProviderServerError,
    ProviderTimeoutError,
    ProviderUnreachableError,
)
from config.providers import Provider, ProviderType
from config.settings import Settings
from jobs.chat import ChatReply, ChatRequest, Message
from worker.adapters import ADAPTERS, Adapter, _say_once, adapter_class, make_adapter
from worker.adapters.faults import MAX_RETRY_AFTER_S, RULES, HttpFault, refused, retry_after_s, translated
from worker.reply import RedirectRefusedError

SECRET = "sk-Secret-0123456789"
REQUEST = ChatRequest((Message("user", "hi"),))
NOW = 1_800_000_000.0


def tree(root: type[Exception]) -> list[type[Exception]]:
    """A class and all classes below it."""
    return [root, *(cls for child in root.__subclasses__() for cls in tree(child))]


def bare(cls: type[Exception]) -> Exception:
    """An error without its constructor's arguments, whose text quotes a key."""
    error = cls.__new__(cls)
    Exception.__init__(error, SECRET)
    return error


def of_aiohttp(cls: type[Exception]) -> Exception:
    return RedirectRefusedError(307) if cls is RedirectRefusedError else bare(cls)


def of_openai(cls: type[Exception]) -> Exception:
    error: Any = bare(cls)
    if issubclass(cls, openai.APIStatusError):
        error.status_code = getattr(cls, "status_code", 500)
        error.response = httpx2.Response(error.status_code, request=httpx2.Request("POST", "https://x"))
        error.body = {"message": SECRET}
    return error  # type: ignore[no-any-return]


def of_groq(cls: type[Exception]) -> Exception:
    error: Any = bare(cls)
    if issubclass(cls, groq.APIStatusError):
        error.status_code = getattr(cls, "status_code", 500)
        error.response = httpx.Response(error.status_code, request=httpx.Request("POST", "https://x"))
        error.body = {"error": {"message": SECRET}}
    return error  # type: ignore[no-any-return]


def of_genai(cls: Any) -> Exception:
    status = {genai_errors.ClientError: 404, genai_errors.ServerError: 503}.get(cls, 302)
    error: Exception = cls(status, {"error": {"message": SECRET}})
    return error


def of_core(cls: Any) -> Exception:
    if cls is core.RetryError:
        return bare(cls)
    error: Exception = cls(SECRET)
    return error


CASES: list[tuple[ProviderType, str, list[Exception]]] = [
    ("openai-compatible", "google-genai", [of_openai(cls) for cls in tree(openai.OpenAIError)]),
    ("groq", "google-genai", [of_groq(cls) for cls in tree(groq.GroqError)]),
    (
        "gemini",
        "google-genai",
        [*map(of_genai, tree(genai_errors.APIError)), bare(genai_errors.UnknownApiResponseError)],
    ),
    ("gemini", "google-generativeai", [of_core(cls) for cls in tree(core.GoogleAPIError)]),
]


MET = [
    pytest.param(type_, sdk, error, id=f"{type_}-{sdk}-{type(error).__name__}")
    for type_, sdk, errors in CASES
    for error in [*errors, *(of_aiohttp(cls) for cls in tree(aiohttp.ClientError))]
]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def adapter_of(type_: ProviderType, sdk: str, session: aiohttp.ClientSession, error: Exception) -> Adapter:
    """An adapter whose call ends with an error."""
    provider = Provider(id="p", name="P", type=type_, base_url="http://localhost", default_model="m")
    adapter = make_adapter(provider, SECRET, session, Settings(gemini_sdk=sdk))

    async def fails(model: str, request: ChatRequest) -> ChatReply:
        raise error

    adapter._complete = fails  # type: ignore[method-assign]
    return adapter


@pytest.mark.parametrize(("type_", "sdk", "error"), MET)
async def test_every_class_of_an_sdk_is_mapped(
    type_: ProviderType, sdk: str, error: Exception, session: aiohttp.ClientSession
) -> None:
    with pytest.raises(CallError) as caught:
        await adapter_of(type_, sdk, session, error).complete("m", REQUEST)
    assert not isinstance(caught.value, InternalError)
    assert SECRET not in repr(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: openai.APITimeoutError(request=httpx2.Request("POST", "https://x")), ProviderTimeoutError),
        (lambda: openai.APIConnectionError(request=httpx2.Request("POST", "https://x")), ProviderConnectionError),
        (lambda: of_openai(openai.AuthenticationError), ProviderAuthError),
        (lambda: of_openai(openai.RateLimitError), ProviderRateLimitedError),
        (lambda: of_openai(openai.ConflictError), ProviderServerError),
        (lambda: of_openai(openai.UnprocessableEntityError), ProviderRejectedError),
    ],
)
async def test_where_nothing_stands_behind_it_the_class_decides(
    make: Any, expected: type[CallError], session: aiohttp.ClientSession
) -> None:
    with pytest.raises(expected):
        await adapter_of("openai-compatible", "google-genai", session, make()).complete("m", REQUEST)


async def test_our_own_errors_pass_unchanged(session: aiohttp.ClientSession) -> None:
    error = OutputRefusedError("p", "no", 200, 3.0)
    error.__context__ = ValueError(SECRET)
    with pytest.raises(OutputRefusedError) as caught:
        await adapter_of("groq", "google-genai", session, error).complete("m", REQUEST)
    assert caught.value.args == error.args
    assert caught.value.__context__ is None


async def test_a_fault_of_ours_is_called_that(session: aiohttp.ClientSession) -> None:
    with pytest.raises(InternalError) as caught:
        await adapter_of("groq", "google-genai", session, KeyError(SECRET)).complete("m", REQUEST)
    assert str(caught.value).startswith("unexpected KeyError at test_adapter_errors.py:")


def test_an_sdk_calls_everything_a_timeout_so_the_cause_decides() -> None:
    """openai and groq over aiohttp: ``APITimeoutError`` from ``ConnectTimeout`` from what really happened."""
    for cause, expected in (
        (aiohttp.ServerDisconnectedError(), ProviderConnectionError),
        (aiohttp.SocketTimeoutError(), ProviderTimeoutError),
        (aiohttp.ConnectionTimeoutError(), ProviderUnreachableError),
    ):
        error = openai.APITimeoutError(request=httpx2.Request("POST", "https://x"))
        error.__cause__ = httpx2.ConnectTimeout("x")
        error.__cause__.__cause__ = cause
        assert type(translated("p", error, RULES)) is expected


def test_a_chain_that_bites_its_tail() -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert type(translated("p", first, RULES)) is InternalError


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, MAX_RETRY_AFTER_S),
        ({"retry-after": "999999"}, MAX_RETRY_AFTER_S),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": formatdate(NOW + 30, usegmt=True)}, 30.0),
        ({"retry-after": formatdate(NOW - 30, usegmt=True)}, 0.0),
        ({"retry-after": formatdate(NOW + 10**8, usegmt=True)}, MAX_RETRY_AFTER_S),
        ({"retry-after": "Mon, 99 Foo 2026 00:00:00 GMT"}, None),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
    ],
)
def test_retry_after(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after_s(headers, NOW) == expected


def test_a_wait_in_the_body_counts_where_no_header_tells() -> None:
    assert refused("p", HttpFault(429, {}, retry_delay_s=4.0), None).retry_after_s == 4.0
    assert refused("p", HttpFault(429, {"retry-after": "2"}, retry_delay_s=4.0), None).retry_after_s == 2.0
    assert refused("p", HttpFault(429, {}, retry_delay_s=1e9), None).retry_after_s == MAX_RETRY_AFTER_S


@pytest.mark.parametrize("code", [None, 7, "", "a b", "x" * 49, "sk-1234", "Secret", json.dumps({}), ["x"]])
def test_codes_that_are_not_shown(code: object) -> None:
    assert str(refused("p", HttpFault(400, {}, code), SECRET)) == "p answered 400"


def test_codes_that_are_shown() -> None:
    assert str(refused("p", HttpFault(400, {}, "context_length_exceeded"), SECRET)) == (
        "p answered 400 (context_length_exceeded)"
    )


def test_every_type_has_an_adapter() -> None:
    assert set(get_args(ProviderType)) <= ADAPTERS.keys()


def test_an_sdk_is_imported_when_it_is_needed() -> None:
    code = "import sys, worker.adapters, worker.session; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"openai", "groq", "google.genai", "google.generativeai", "httpx"} & set(loaded)


async def test_an_sdk_that_is_not_installed(session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "worker.adapters.gemini_legacy", raising=False)
    monkeypatch.setitem(sys.modules, "google.generativeai", None)
    with pytest.raises(ProviderRejectedError, match="not installed"):
        adapter_of("gemini", "google-generativeai", session, ValueError())


def test_an_sdk_that_is_no_longer_supported_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    provider = Provider(id="custom-g", name="G", type="gemini", base_url="https://example.com", default_model="m")
    _say_once.cache_clear()
    for _ in range(3):
        adapter_class(provider, Settings(gemini_sdk="google-generativeai"))
        adapter_class(provider, Settings())
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "google-generativeai gets no fixes" in caplog.text
