"""What both Gemini back ends share: base URL, the split of a conversation, ends of answers, the words of errors."""

import re
from collections.abc import Mapping
from typing import Any

from config.errors import OutputRefusedError, OutputTruncatedError, ProviderRejectedError, ProviderReplyError
from config.providers import Provider
from jobs.chat import ChatReply, ChatRequest, Usage
from worker.adapters.faults import HttpFault

API_VERSION = "v1beta"
"""The one that every feature used here is in, structured output included."""

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


def turns(request: ChatRequest) -> list[tuple[str, str]]:
    """The conversation as pairs of Gemini's role and text."""
    return [(ROLES[message.role], message.text) for message in request.messages if message.role in ROLES]


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
        raise OutputRefusedError(provider_id, f"{provider_id} declined to answer", 200)
    if finish == "MAX_TOKENS":
        raise OutputTruncatedError(provider_id, f"the answer of {provider_id} ended at the token limit", 200)
    if not text:
        raise ProviderReplyError(provider_id, f"{provider_id} sent an answer without text", 200)
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
