"""What both Gemini back ends share: base URL, the split of a conversation, ends of answers, the words of errors."""

import json
import re
from collections.abc import Mapping
from typing import Any

import aiohttp
from pydantic import BaseModel, ConfigDict

from config.errors import OutputRefusedError, OutputTruncatedError, ProviderRejectedError, ProviderReplyError
from config.providers import Model, Provider
from jobs.chat import ChatReply, ChatRequest, Message, Usage
from worker.adapters.base import known_models, unusable
from worker.adapters.faults import HttpFault, refused

API_VERSION = "v1beta"
"""The one that every feature used here is in, structured output included."""

MAX_PAGES = 10

ROLES = {"user": "user", "assistant": "model"}

_REFUSALS = frozenset({"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "IMAGE_SAFETY"})
_MODEL = re.compile(r"(?!.*\.\.)[\w.-]+(/[\w.-]+)*", re.ASCII)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)s")


def root_url(provider: Provider) -> str:
    """The base URL without an API version, which the SDKs add themselves."""
    return provider.base_url.rstrip("/").removesuffix(f"/{API_VERSION}")


def check_model(provider_id: str, model: str) -> None:
    """Refuses a model name that would lead to another path of the API: here it stands in the URL.

    Raises:
        ProviderRejectedError: no model is called that.
    """
    if not _MODEL.fullmatch(model):
        raise ProviderRejectedError(provider_id, f"{provider_id} cannot have a model of that name")


def system_text(request: ChatRequest) -> str | None:
    """The system messages as one text, which Gemini takes apart from the conversation."""
    return "\n\n".join(message.text for message in request.messages if message.role == "system") or None


def turns(request: ChatRequest) -> list[tuple[str, Message]]:
    """The conversation as pairs of Gemini's role and message."""
    return [(ROLES[message.role], message) for message in request.messages if message.role in ROLES]


def gemini_reply(
    provider_id: str, model: str, *, blocked: str, finish: str, text: str | None, usage: Usage
) -> ChatReply:
    """The answer, or why it is none.

    Args:
        provider_id: who answered.
        model: the model, by the provider's own word.
        blocked: name of the reason why the prompt was blocked, or an empty string.
        finish: name of the reason why the answer ended, or an empty string.
        text: of the first candidate; None if there is none.
        usage: tokens counted.

    Raises:
        OutputRefusedError: the prompt or the answer was blocked.
        OutputTruncatedError: it ended at the token limit.
        ProviderReplyError: it holds no text.
    """
    if blocked or finish in _REFUSALS:
        raise unusable(OutputRefusedError, provider_id, "declined to answer", usage)
    if finish == "MAX_TOKENS":
        raise unusable(OutputTruncatedError, provider_id, "ended its answer at the token limit", usage)
    if not text:
        raise unusable(ProviderReplyError, provider_id, "sent an answer without text", usage)
    return ChatReply(text, usage, model)


def gemini_fault(status: int, headers: Mapping[str, str], body: object) -> HttpFault:
    """A refusal by its status and Google's error JSON.

    A wrong key is a 400 with the reason ``API_KEY_INVALID`` in its details, not a 401; how long to wait stands in a
    ``RetryInfo`` (google.rpc.error_details).
    """
    error: Any = body.get("error", body) if isinstance(body, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    parts = [part for part in details if isinstance(part, dict)] if isinstance(details, list) else []
    delay = next((_DURATION.fullmatch(str(part["retryDelay"])) for part in parts if "retryDelay" in part), None)
    return HttpFault(
        status,
        headers,
        error.get("status") if isinstance(error, dict) else None,
        float(delay[1]) if delay else None,
        any(part.get("reason") == "API_KEY_INVALID" for part in parts),
    )


class _Listed(BaseModel):
    name: str
    displayName: Any = None  # noqa: N815 - Google's spelling, as in the next two
    inputTokenLimit: Any = None  # noqa: N815
    supportedGenerationMethods: list[str] = []  # noqa: N815


class _Page(BaseModel):
    model_config = ConfigDict(strict=True, hide_input_in_errors=True)

    models: list[_Listed] = []
    nextPageToken: str | None = None  # noqa: N815


async def list_models(session: aiohttp.ClientSession, provider: Provider, key: str) -> tuple[Model, ...]:
    """The models that can answer a chat, page after page of ``GET /models``.

    Neither SDK takes part: one pages in the background of an iterator, the other knows no asynchronous call.

    Raises:
        CallError: refused.
        ValidationError: a page is not what the protocol says.
    """
    listed: list[_Listed] = []
    token: str | None = None
    for _ in range(MAX_PAGES):
        page = await _page(session, provider, key, token)
        listed += page.models
        if not page.nextPageToken or page.nextPageToken == token:
            break
        token = page.nextPageToken
    return known_models(
        (model.name.removeprefix("models/"), model.displayName, model.inputTokenLimit)
        for model in listed
        if "generateContent" in model.supportedGenerationMethods
    )


async def _page(session: aiohttp.ClientSession, provider: Provider, key: str, token: str | None) -> _Page:
    query = {"pageSize": "1000"} | ({"pageToken": token} if token else {})
    url = f"{root_url(provider)}/{API_VERSION}/models"
    async with session.get(url, params=query, headers={"x-goog-api-key": key}, allow_redirects=False) as answer:
        body = await answer.read()
        if answer.status != 200:
            raise refused(provider.id, gemini_fault(answer.status, answer.headers, json_of(body)), key)
    return _Page.model_validate_json(body)


def json_of(content: bytes) -> object:
    """What JSON a body holds, None if it holds none."""
    try:
        return json.loads(content)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return None
