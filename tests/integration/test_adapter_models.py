"""What an endpoint lists: the same contract for every adapter, and each server's own words."""

from typing import Any

import aiohttp
import pytest

from config.errors import (
    CallError,
    ProviderAuthError,
    ProviderConnectionError,
    ProviderRejectedError,
    ProviderReplyError,
    ProviderServerError,
    ProviderTimeoutError,
)
from config.providers import Model
from tests.integration.test_adapters import KEY, MAX_BYTES, WIRES, Wire, session, wire  # noqa: F401
from tests.support import fault_server as faults
from tests.support.fault_server import Exchange, FaultServer, Play
from tests.support.llm_server import LLMServer
from worker.adapters import make_adapter

OPENAI, GROQ, GEMINI, LEGACY = WIRES.values()


async def listed(play: Play, wire: Wire, session: aiohttp.ClientSession, requests: int = 1) -> tuple[Model, ...]:  # noqa: F811 - fixtures of the contract
    """What the adapter makes of an answer."""
    async with FaultServer(play) as server:
        models = await make_adapter(wire.provider(server.url), KEY, session, wire.settings()).models()
        assert len(server.exchanges) == requests
        assert all(exchange.line.startswith("GET ") and KEY in str(exchange.headers) for exchange in server.exchanges)
        assert all(KEY not in exchange.line for exchange in server.exchanges)
        return models


@pytest.mark.parametrize("wire", [OPENAI, GROQ], ids=["openai", "groq"])
async def test_a_providers_own_list(llm: LLMServer, wire: Wire, session: aiohttp.ClientSession) -> None:  # noqa: F811
    models = await make_adapter(wire.provider(wire.url(llm)), KEY, session, wire.settings()).models()
    assert models
    assert [model.id for model in models] == sorted(model.id for model in models)


@pytest.mark.parametrize("wire", [OPENAI, GROQ], ids=["openai", "groq"])
async def test_each_server_says_it_in_its_own_words(wire: Wire, session: aiohttp.ClientSession) -> None:  # noqa: F811
    data: list[Any] = [
        {"id": "z-openai", "object": "model", "owned_by": "openai"},
        {"id": "groq", "active": True, "context_window": 131072},
        {"id": "groq-old", "active": False, "context_window": 1},
        {"id": "vllm", "max_model_len": 4096, "permission": [{}]},
        {"id": "llama.cpp", "meta": {"n_ctx_train": 8192, "n_params": 1}},
        {"id": "router/model", "name": "Router: Model", "context_length": 200000},
        {"id": "odd", "name": 7, "context_window": "big", "meta": "none"},
        *({"id": bad} for bad in (7, None, "", "x" * 201, "a\nb")),
        {},
    ]
    assert await listed(faults.answer({"object": "list", "data": data}), wire, session) == (
        Model(id="groq", context_window_tokens=131072),
        Model(id="llama.cpp", context_window_tokens=8192),
        Model(id="odd"),
        Model(id="router/model", name="Router: Model", context_window_tokens=200000),
        Model(id="vllm", context_window_tokens=4096),
        Model(id="z-openai"),
    )
    assert await listed(faults.answer({"object": "list", "data": None}), wire, session) == (), "Ollama without models"


@pytest.mark.parametrize("wire", [GEMINI, LEGACY], ids=["gemini", "gemini-legacy"])
async def test_googles_list_page_by_page(wire: Wire, session: aiohttp.ClientSession) -> None:  # noqa: F811
    chat = {"supportedGenerationMethods": ["generateContent", "countTokens"], "inputTokenLimit": 1048576}
    pages = [
        {"models": [{"name": "models/b", "displayName": "B", **chat}, {"name": "models/e"}], "nextPageToken": "2"},
        {"models": [{"name": "models/a", **chat}], "nextPageToken": "2"},
    ]

    async def play(exchange: Exchange) -> None:
        await faults.answer(pages["pageToken=2" in exchange.line])(exchange)

    found = (
        Model(id="a", context_window_tokens=1048576),
        Model(id="b", name="B", context_window_tokens=1048576),
    )
    assert await listed(play, wire, session, requests=2) == found, "a token that comes again is the end"


@pytest.mark.parametrize(
    ("play", "expected"),
    [
        (faults.answer({"error": {"message": KEY}}, 401), ProviderAuthError),
        (faults.answer(b"<html>", 404, content_type="text/html"), ProviderRejectedError),
        (faults.answer({}, 500), ProviderServerError),
        (faults.answer(b"", 302, location="http://127.0.0.1:9/models"), ProviderRejectedError),
        (faults.answer(b'{"data": [{"id'), ProviderReplyError),
        (faults.answer(b'"models"'), ProviderReplyError),
        (faults.answer({"data": 7, "models": 7}), ProviderReplyError),
        (faults.answer(b" " * (MAX_BYTES + 1)), ProviderReplyError),
        (faults.cut_body, ProviderConnectionError),
        (faults.hang, ProviderTimeoutError),
        (faults.drip, ProviderTimeoutError),
    ],
    ids=["401", "404", "500", "redirect", "truncated", "a string", "wrong types", "large", "cut", "hang", "drip"],
)
async def test_a_list_that_does_not_come(
    wire: Wire,  # noqa: F811
    session: aiohttp.ClientSession,  # noqa: F811
    play: Play,
    expected: type[CallError],
) -> None:
    async with FaultServer(play) as server:
        adapter = make_adapter(wire.provider(server.url, 0.5), KEY, session, wire.settings())
        with pytest.raises(CallError) as caught:
            await adapter.models()
        assert len(server.exchanges) == 1
    assert type(caught.value) is expected
    assert KEY not in str(caught.value)
    assert caught.value.__context__ is None
