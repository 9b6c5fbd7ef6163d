"""Gemini, over google-genai."""

from json import JSONDecodeError
from typing import Any

import aiohttp
from google import genai
from google.genai import errors, types

from config.errors import ProviderReplyError
from config.providers import Model, Provider
from config.settings import Settings
from jobs.chat import ChatReply, ChatRequest, Message, Usage
from worker.adapters.base import Adapter
from worker.adapters.faults import RULES, HttpFault
from worker.adapters.gemini_wire import (
    API_VERSION,
    check_model,
    gemini_fault,
    gemini_reply,
    list_models,
    root_url,
    system_text,
    turns,
)
from worker.adapters.tls import UNUSED_TLS
from worker.session import answer_head
from worker.structured import strict_schema

_ONE_ATTEMPT = types.HttpRetryOptions(attempts=1)
_NO_FUNCTIONS = types.AutomaticFunctionCallingConfig(disable=True)


class GeminiAdapter(Adapter):
    """Calls ``POST {base_url}/v1beta/models/{model}:generateContent``."""

    rules = (
        *RULES,
        (errors.UnknownApiResponseError, ProviderReplyError, "sent an answer that is not JSON"),
        (errors.APIError, ProviderReplyError, "sent an answer that its SDK does not understand"),
    )

    def __init__(self, provider: Provider, key: str | None, session: aiohttp.ClientSession, settings: Settings) -> None:
        super().__init__(provider, key, session, settings)
        options = types.HttpOptions(
            base_url=root_url(provider),
            api_version=API_VERSION,
            # Without it, an SDK of this version sleeps up to 10 s after a broken connection and sends once more.
            retry_options=_ONE_ATTEMPT,
            aiohttp_client=session,
            client_args={"verify": UNUSED_TLS},
            # ``ssl: True`` leaves certificates to the session's connector.
            async_client_args={"ssl": True, "allow_redirects": False, "verify": UNUSED_TLS},
        )
        self._client = genai.Client(api_key=self._key, vertexai=False, http_options=options)

    async def _complete(self, model: str, request: ChatRequest) -> ChatReply:
        check_model(self.provider.id, model)
        answer = await self._client.aio.models.generate_content(
            model=model,
            contents=[types.Content(role=role, parts=_parts(message)) for role, message in turns(request)],
            config=_config(request),
        )
        candidate = next(iter(answer.candidates or ()), None)
        blocked = answer.prompt_feedback.block_reason if answer.prompt_feedback else None
        return gemini_reply(
            self.provider.id,
            answer.model_version or model,
            blocked=_name(blocked),
            finish=_name(candidate.finish_reason if candidate else None),
            text=_text(candidate),
            usage=_usage(answer.usage_metadata),
        )

    async def _models(self) -> tuple[Model, ...]:
        return await list_models(self._session, self.provider, self._key)

    def _fault_of(self, error: BaseException) -> HttpFault | None:
        if isinstance(error, JSONDecodeError):
            status, headers = answer_head.get((200, {}))
            return None if status == 200 else HttpFault(status, headers)
        if not isinstance(error, errors.APIError) or not isinstance(error.code, int):
            return None
        return gemini_fault(error.code, getattr(error.response, "headers", {}), error.details)


def _parts(message: Message) -> list[types.Part]:
    text = [types.Part(text=message.text)] if message.text or not message.images else []
    return [
        *text,
        *(
            types.Part(inline_data=types.Blob(mime_type=image.media_type, data=image.content))
            for image in message.images
        ),
    ]


def _config(request: ChatRequest) -> types.GenerateContentConfig:
    config = types.GenerateContentConfig(
        system_instruction=system_text(request),
        max_output_tokens=request.max_output_tokens,
        temperature=request.temperature,
        automatic_function_calling=_NO_FUNCTIONS,
    )
    if request.json_schema is not None:
        config.response_mime_type = "application/json"
        config.response_json_schema = strict_schema(request.json_schema)
    return config


def _name(reason: Any) -> str:
    """The name of a reason; the SDK keeps one that it does not know as an enum of that name."""
    return "" if reason is None else str(reason.value)


def _text(candidate: types.Candidate | None) -> str | None:
    """The text of an answer without the model's thoughts."""
    if candidate is None or candidate.content is None:
        return None
    return "".join(part.text for part in candidate.content.parts or () if part.text and not part.thought)


def _usage(counted: types.GenerateContentResponseUsageMetadata | None) -> Usage:
    """Thoughts are paid as output."""
    if counted is None:
        return Usage()
    output_tokens = (counted.candidates_token_count or 0) + (counted.thoughts_token_count or 0)
    return Usage(counted.prompt_token_count or 0, output_tokens)
