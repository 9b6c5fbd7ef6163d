"""OpenAI's chat completions as far as the local provider speaks them: requests, replies, errors and token counts.

Fields, error shape and codes follow https://platform.openai.com/docs/api-reference/chat and /docs/guides/error-codes.
"""

import json
import re
import time
import uuid
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MODEL = "local-extractive-1"
_CJK = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_TOKEN = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+|[^\w\s]")


class ProtocolError(Exception):
    """A request that is refused; becomes OpenAI's error object."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(status, message, param, code)
        self.status, self.message, self.param, self.code = status, message, param, code

    def body(self) -> dict[str, Any]:
        """The JSON body that goes with ``status``."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)
    type: Literal["text"]
    text: str


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)
    role: Literal["developer", "system", "user", "assistant"]
    content: str | list[_Part]

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content)


class _NamedSchema(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)
    name: str
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class _ResponseFormat(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _NamedSchema | None = None


class ChatRequest(BaseModel):
    """The parts of a request that have an effect here; others, such as ``temperature``, are taken and ignored."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)
    model: str
    messages: Annotated[list[_Message], Field(min_length=1)]
    stream: bool | None = None
    n: int | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    response_format: _ResponseFormat | None = None

    @property
    def document(self) -> str:
        """What is to be summarised: the last message of the user."""
        return next(message.text for message in reversed(self.messages) if message.role == "user")

    @property
    def token_limit(self) -> int | None:
        """The most tokens that the answer may have."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def json_schema(self) -> dict[str, Any] | None:
        """The schema that the answer must fit, ``{}`` for any JSON object, None for free text."""
        if self.response_format is None or self.response_format.type == "text":
            return None
        return self.response_format.json_schema.schema_ if self.response_format.json_schema else {}


def parse(body: bytes) -> ChatRequest:
    """Reads a request.

    Raises:
        ProtocolError: 400 or 404, worded without a value from the request other than the model's name.
    """
    try:
        request = ChatRequest.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error) from None
    if request.stream:
        raise ProtocolError(400, "streaming is not supported by this model", "stream", "unsupported_value")
    if request.n not in (None, 1):
        raise ProtocolError(400, "only n = 1 is supported by this model", "n", "unsupported_value")
    if not any(message.role == "user" for message in request.messages):
        raise ProtocolError(400, "messages must contain a message of the user", "messages", "invalid_value")
    _check_format(request.response_format)
    check_model(request.model)
    return request


def check_model(name: str) -> None:
    """Raises ProtocolError 404 for any model but ours."""
    if name != MODEL:
        raise ProtocolError(404, f"The model {name[:100]!r} does not exist", "model", "model_not_found")


def reply(request: ChatRequest, content: str) -> dict[str, Any]:
    """The response body; the content is cut at the request's token limit, which ``finish_reason`` then tells."""
    cut, completion_tokens = cut_to_tokens(content, request.token_limit)
    prompt_tokens = sum(count_tokens(message.text) for message in request.messages)
    message = {"role": "assistant", "content": cut, "refusal": None}
    finish_reason = "stop" if cut == content else "length"
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": None}],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
    }


def count_tokens(text: str) -> int:
    """Tokens of a text: each word, each sign, and each Chinese, Japanese or Korean character is one."""
    return len(_TOKEN.findall(text))


def cut_to_tokens(text: str, limit: int | None) -> tuple[str, int]:
    """The text up to its token number ``limit``, and how many tokens it has then."""
    count = count_tokens(text)
    if limit is None or count <= limit:
        return text, count
    ends = (token.end() for token in _TOKEN.finditer(text))
    return text[: next(end for number, end in enumerate(ends, 1) if number == limit)], limit


def _check_format(wanted: _ResponseFormat | None) -> None:
    if wanted and wanted.type == "json_schema" and wanted.json_schema is None:
        raise ProtocolError(
            400, "response_format.json_schema is missing", "response_format", "missing_required_parameter"
        )


def _refusal(error: ValidationError) -> ProtocolError:
    """The first problem in OpenAI's words; pydantic's own text may quote the request, so only its kind is told."""
    first = json.loads(error.json(include_input=False, include_url=False, include_context=False))[0]
    if first["type"] == "json_invalid":
        return ProtocolError(400, "We could not parse the JSON body of your request.")
    param = ".".join(str(part) for part in first["loc"] if part != "_Part")[:200] or None
    if first["type"] == "missing":
        return ProtocolError(400, f"Missing required parameter: {param}", param, "missing_required_parameter")
    return ProtocolError(400, f"Invalid value for {param or 'the body'}: {first['type']}", param, "invalid_value")
