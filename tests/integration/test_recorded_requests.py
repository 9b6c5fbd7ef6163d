"""A call sends what the SDK itself would send: the recording must not leave anything out, or add to it."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import groq
import httpx
import httpx2
import openai
import pytest

from config.providers import Provider, ProviderType
from config.settings import Settings
from jobs.chat import ChatRequest, Message
from tests.support.fault_server import Exchange, FaultServer, head
from worker.adapters import make_adapter
from worker.session import guarded_session

KEY = "sk-recorded-0123456789"
REQUEST = ChatRequest((Message("system", "Be brief."), Message("user", "Grüße 🎟 \u2028 \x7f")), 100, 0.5)
ANSWER = json.dumps(
    {"model": "m", "choices": [{"message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}]}
).encode()
OF_THE_TRANSPORT = {"host", "accept-encoding", "connection", "content-length"}
OF_THE_TIMEOUT = {"x-stainless-read-timeout"}
"""The SDK's own client has another timeout here."""


class Desk:
    """Keeps what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], Any]] = []

    async def __call__(self, exchange: Exchange) -> None:
        self.asked.append((exchange.line, dict(exchange.headers), json.loads(exchange.body)))
        await exchange.send(head(200, content_type="application/json", content_length=len(ANSWER)) + ANSWER)


async def _by_openai(url: str, body: dict[str, Any]) -> None:
    client = openai.AsyncOpenAI(api_key=KEY, base_url=url, max_retries=0, http_client=httpx2.AsyncClient())
    await client.chat.completions.create(**body)
    await client.close()


async def _by_groq(url: str, body: dict[str, Any]) -> None:
    client = groq.AsyncGroq(api_key=KEY, base_url=url, max_retries=0, http_client=httpx.AsyncClient())
    await client.chat.completions.create(**body)
    await client.close()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    settings = Settings()
    async with guarded_session(settings.egress, settings.response_max_bytes) as session:
        yield session


@pytest.mark.parametrize(
    ("provider_type", "by_sdk", "path"),
    [("openai-compatible", _by_openai, "/v1"), ("groq", _by_groq, "")],
)
async def test_a_call_sends_what_the_sdk_sends(
    provider_type: ProviderType, by_sdk: Callable[..., Any], path: str, session: aiohttp.ClientSession
) -> None:
    desk = Desk()
    async with FaultServer(desk) as server:
        url = server.url + path
        provider = Provider(id="custom-p", name="P", type=provider_type, base_url=url, default_model="m")
        adapter = make_adapter(provider, KEY, session, Settings())
        assert (await adapter.complete("m", REQUEST)).text == "ok"
        assert (await adapter.complete("m-2", REQUEST)).text == "ok"
        (line, headers, body), (line_2, headers_2, body_2) = desk.asked
        await by_sdk(url, body)
    sdk_line, sdk_headers, sdk_body = desk.asked[2]
    assert line == line_2 == sdk_line
    assert body == sdk_body
    assert body_2 == {**body, "model": "m-2"}
    assert _told(headers) == _told(headers_2) == _told(sdk_headers)
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["accept-encoding"] == "identity"
    assert KEY not in repr(vars(adapter)["_recording"])


def _told(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in OF_THE_TRANSPORT | OF_THE_TIMEOUT}
