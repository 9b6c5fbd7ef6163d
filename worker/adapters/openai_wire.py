"""The chat-completions protocol, shared by all who speak it: a request as JSON, an answer read with suspicion."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from config.errors import OutputRefusedError, OutputTruncatedError, ProviderReplyError
from jobs.chat import ChatReply, ChatRequest, Usage
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
        "messages": [{"role": message.role, "content": message.text} for message in request.messages],
    }
    if request.max_output_tokens is not None:
        body[tokens_field] = request.max_output_tokens
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.json_schema is not None:
        named = {"name": request.schema_name, "strict": True, "schema": strict_schema(request.json_schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    return body


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
    if choice.message.refusal or choice.finish_reason == "content_filter":
        raise OutputRefusedError(provider_id, f"{provider_id} declined to answer", 200)
    if choice.finish_reason == "length":
        raise OutputTruncatedError(provider_id, f"the answer of {provider_id} ended at the token limit", 200)
    if choice.message.content is None:
        raise ProviderReplyError(provider_id, f"{provider_id} sent an answer without text", 200)
    usage = completion.usage or _Usage()
    counted = Usage(usage.prompt_tokens or 0, usage.completion_tokens or 0)
    return ChatReply(choice.message.content, counted, completion.model or model)


def error_fault(status: int, headers: Any, body: object) -> HttpFault:
    """A refusal by its status and the JSON that came with it: ``{"error": {"code": …}}``, or what is inside of it."""
    inner = body.get("error", body) if isinstance(body, dict) else None
    code = (inner.get("code") or inner.get("type")) if isinstance(inner, dict) else None
    return HttpFault(status, headers, code)
