"""Gemini, over google-generativeai: the SDK whose maintainers have ended all support; a setting asks for it.

The SDK is synchronous and keeps its key in a global. Here each adapter has a client of its own, and the SDK's HTTP
session is a relay: a first run of the SDK hands out the request, the process' guarded session sends it, a second run
reads the answer. So egress policy, size limit, deadline and cancellation are the same as for the other adapters, no
thread is held, and the SDK's own retries (127 requests in 598 s on a 503, whatever its timeout) have nothing to repeat.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import aiohttp
from google.api_core.exceptions import GoogleAPICallError, GoogleAPIError
from google.auth.exceptions import GoogleAuthError

from config.errors import ProviderReplyError
from config.providers import Model, Provider
from config.settings import Settings
from jobs.chat import ChatReply, ChatRequest, Message, Usage
from worker.adapters.base import Adapter
from worker.adapters.faults import RULES, HttpFault, refused
from worker.adapters.gemini_wire import (
    check_model,
    gemini_fault,
    gemini_reply,
    json_of,
    list_models,
    root_url,
    system_text,
    turns,
)
from worker.structured import with_json_instructions

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it says that its support has ended, and its dependencies that they are old
    # Imported by name: the extra may be absent where types are checked.
    _sdk: Any = import_module("google.generativeai")
    _wire: Any = import_module("google.ai.generativelanguage")
    _json_format: Any = import_module("google.protobuf.json_format")


class _ToSendError(Exception):
    """Carries the request out of the SDK's first run."""

    def __init__(self, url: str, headers: dict[str, str], params: Any, data: Any) -> None:
        super().__init__("a request to send")
        self.url, self.headers, self.params, self.data = url, headers, params, data


@dataclass(frozen=True)
class _Answer:
    """An HTTP answer in the shape of ``requests``, as far as the SDK looks at it."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)


class _Relay:
    """Stands where the SDK expects a ``requests.Session``; used within one run of the SDK, which never awaits."""

    answer: _Answer | None = None

    def post(self, url: str, *, headers: dict[str, str], params: Any, data: Any, timeout: Any) -> _Answer:  # noqa: ARG002 - the shape of requests
        """The answer if it is there, else the request."""
        if self.answer is None:
            raise _ToSendError(url, headers, params, data)
        return self.answer


class GeminiLegacyAdapter(Adapter):
    """Calls ``POST {base_url}/v1beta/models/{model}:generateContent``.

    This SDK knows no JSON schema, so a structured answer is Gemini's JSON mode with the schema in the instructions.
    """

    deprecation = (
        "google-generativeai gets no fixes any more; unset TICKETFLOW_GEMINI_SDK to use google-genai "
        "(docs/decisions/0005-two-gemini-back-ends.md)"
    )

    rules = (
        *RULES,
        (_json_format.ParseError, ProviderReplyError, "sent an answer that is not its protocol's JSON"),
        (GoogleAPIError, ProviderReplyError, "sent an answer that its SDK does not understand"),
        (GoogleAuthError, ProviderReplyError, "met a fault in its SDK's authentication"),
    )

    def __init__(self, provider: Provider, key: str | None, session: aiohttp.ClientSession, settings: Settings) -> None:
        super().__init__(provider, key, session, settings)
        options = {"api_key": self._key, "api_endpoint": root_url(provider)}
        self._client = _wire.GenerativeServiceClient(transport="rest", client_options=options)
        self._relay = _Relay()
        # Private, but frozen: 0.8.6 is the last release of this SDK.
        self._client.transport._session.post = self._relay.post

    async def _complete(self, model: str, request: ChatRequest) -> ChatReply:
        check_model(self.provider.id, model)
        try:
            self._run(model, request, None)
        except _ToSendError as order:
            answer = await self._send(order)
        if answer.status_code != 200:
            fault = gemini_fault(answer.status_code, answer.headers, json_of(answer.content))
            raise refused(self.provider.id, fault, self._key)
        return self._reply(model, self._run(model, request, answer))

    def _run(self, model: str, request: ChatRequest, answer: _Answer | None) -> Any:
        config: dict[str, Any] = {"max_output_tokens": request.max_output_tokens, "temperature": request.temperature}
        if request.json_schema is not None:
            request = with_json_instructions(request)
            config["response_mime_type"] = "application/json"
        talk = _sdk.GenerativeModel(model, system_instruction=system_text(request))
        talk._client = self._client
        self._relay.answer = answer
        try:
            return talk.generate_content(
                [{"role": role, "parts": _parts(message)} for role, message in turns(request)],
                generation_config={name: value for name, value in config.items() if value is not None},
                request_options={"timeout": self.provider.timeout_s, "retry": None},
            )
        finally:
            self._relay.answer = None

    async def _send(self, order: _ToSendError) -> _Answer:
        headers = {**order.headers, "x-goog-api-key": self._key}
        async with self._session.post(
            order.url, headers=headers, params=order.params, data=order.data, allow_redirects=False
        ) as answer:
            return _Answer(answer.status, answer.headers, await answer.read())

    def _reply(self, model: str, answer: Any) -> ChatReply:
        candidate = next(iter(answer.candidates), None)
        blocked, counted = answer.prompt_feedback.block_reason, answer.usage_metadata
        # This SDK does not count thoughts, which are paid as output; the total has them.
        output_tokens = max(counted.candidates_token_count, counted.total_token_count - counted.prompt_token_count)
        return gemini_reply(
            self.provider.id,
            model,
            blocked=blocked.name if blocked else "",
            finish=candidate.finish_reason.name if candidate else "",
            text="".join(part.text for part in candidate.content.parts) if candidate else None,
            usage=Usage(counted.prompt_token_count, output_tokens),
        )

    async def _models(self) -> tuple[Model, ...]:
        return await list_models(self._session, self.provider, self._key)

    def _fault_of(self, error: BaseException) -> HttpFault | None:
        if not isinstance(error, GoogleAPICallError) or error.code is None:
            return None
        return HttpFault(int(error.code), getattr(error.response, "headers", {}))


def _parts(message: Message) -> list[Any]:
    text = [message.text] if message.text or not message.images else []
    return [*text, *({"mime_type": image.media_type, "data": image.content} for image in message.images)]
