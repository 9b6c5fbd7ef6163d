"""The chat-completions protocol, shared by all who speak it: a request as JSON, an answer read with suspicion."""

from functools import lru_cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json, to_json

from config.errors import OutputRefusedError, OutputTruncatedError, ProviderReplyError
from config.providers import Model
from jobs.chat import ChatReply, ChatRequest, Message, Usage
from worker.adapters.base import known_models, unusable
from worker.adapters.faults import HttpFault
from worker.structured import strict_schema

Count = Annotated[int, Field(ge=0)]


class _Wire(BaseModel):
    model_config = ConfigDict(strict=True, hide_input_in_errors=True)


class _Message(_Wire):
    content: str | None = None
    refusal: str | None = None


class _Choice(_Wire):
    message: _Message
    finish_reason: str | None = None


class _Usage(_Wire):
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None


class _Listed(_Wire):
    id: Any = None
    name: Any = None
    active: Any = None
    context_window: Any = None
    context_length: Any = None
    max_model_len: Any = None
    meta: Any = None

    @property
    def context_tokens(self) -> Any:
        trained = self.meta.get("n_ctx_train") if isinstance(self.meta, dict) else None
        said = (self.context_window, self.context_length, self.max_model_len, trained)
        return next((value for value in said if value), None)


class _Models(_Wire):
    data: list[_Listed] | None


class _Completion(_Wire):
    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: _Usage | None = None
    model: str | None = None


def chat_body(model: str, request: ChatRequest, tokens_field: str) -> dict[str, Any]:
    """The body of a request.

    Args:
        model: what the provider calls it.
        request: what is asked.
        tokens_field: what the provider calls the upper bound of the answer.
    """
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": message.role, "content": _content(message)} for message in request.messages],
    }
    if request.max_output_tokens is not None:
        body[tokens_field] = request.max_output_tokens
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.json_schema is not None:
        named = {"name": request.schema_name, "strict": True, "schema": _strict(to_json(request.json_schema))}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    return body


@lru_cache(maxsize=64)
def _strict(schema: bytes) -> dict[str, Any]:
    """Schemas are those of a few kinds, and the same for each job."""
    return strict_schema(from_json(schema))


def _content(message: Message) -> str | list[dict[str, Any]]:
    """Text alone stays text: not every server knows parts."""
    if not message.images:
        return message.text
    text = [{"type": "text", "text": message.text}] if message.text else []
    return [*text, *({"type": "image_url", "image_url": {"url": image.data_url}} for image in message.images)]


def chat_reply(provider_id: str, model: str, body: bytes) -> ChatReply:
    """The answer in a body.

    Raises:
        OutputRefusedError: the model or a filter declined.
        OutputTruncatedError: it ended at the token limit.
        ProviderReplyError: it holds no text.
        ValidationError: it is not what the protocol says.
    """
    completion = _Completion.model_validate_json(body)
    choice = completion.choices[0]
    usage = completion.usage or _Usage()
    counted = Usage(usage.prompt_tokens or 0, usage.completion_tokens or 0)
    if choice.message.refusal or choice.finish_reason == "content_filter":
        raise unusable(OutputRefusedError, provider_id, "declined to answer", counted)
    if choice.finish_reason == "length":
        raise unusable(OutputTruncatedError, provider_id, "ended its answer at the token limit", counted)
    if choice.message.content is None:
        raise unusable(ProviderReplyError, provider_id, "sent an answer without text", counted)
    return ChatReply(choice.message.content, counted, completion.model or model)


def listed_models(body: bytes) -> tuple[Model, ...]:
    """The models in an answer to ``GET /models``; what cannot be one of ours is left out.

    How long a context may be is said by some, each in its own words: Groq ``context_window``, OpenRouter
    ``context_length``, vLLM ``max_model_len``, llama.cpp ``meta.n_ctx_train``.

    Raises:
        ValidationError: it is not what the protocol says.
    """
    listed = _Models.model_validate_json(body).data or []
    return known_models((item.id, item.name, item.context_tokens) for item in listed if item.active is not False)


def error_fault(status: int, headers: Any, body: object) -> HttpFault:
    """A refusal by its status and the JSON that came with it: ``{"error": {"code": …}}``, or what is inside of it."""
    inner = body.get("error", body) if isinstance(body, dict) else None
    code = (inner.get("code") or inner.get("type")) if isinstance(inner, dict) else None
    return HttpFault(status, headers, code)
