"""Chat completions for little CPU: a request as the SDK makes it, recorded once, sent again with each job's body.

What an SDK does for a call is the same each time but for the body: address, headers, signature. Doing it anew costs six
times the CPU of all the rest (0.8 ms a call with the SDK's low-level ``post``, 0.13 ms without). So each client has its
SDK make one request that is never sent, and repeats its address and headers.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientResponse
from multidict import CIMultiDict
from pydantic_core import from_json, to_json
from yarl import URL

from jobs.chat import ChatReply, ChatRequest
from worker.adapters.base import Adapter
from worker.adapters.faults import HttpFault
from worker.adapters.openai_wire import chat_body, chat_reply, error_fault

OF_THE_BODY = frozenset({"content-length", "transfer-encoding"})
OF_THE_CONNECTION = frozenset({"host", "connection", "accept-encoding"})
"""These are for the session to say."""


@dataclass(frozen=True)
class Recorded:
    """Address and headers of a request, as its SDK made it; the headers hold the key and stay out of ``repr``."""

    url: URL
    headers: CIMultiDict[str] = field(repr=False)

    @classmethod
    def of(cls, url: str, headers: Mapping[str, str]) -> "Recorded":
        """Takes what every call has in common."""
        kept = {k: v for k, v in headers.items() if k.lower() not in OF_THE_BODY | OF_THE_CONNECTION}
        return cls(URL(url, encoded=True), CIMultiDict(kept))


class RefusedError(Exception):
    """The provider refused by status; carries what it said in terms of HTTP."""

    def __init__(self, fault: HttpFault) -> None:
        super().__init__(fault)
        self.fault = fault


class ChatCompletionsAdapter(Adapter):
    """What OpenAI, Groq and all compatible endpoints share."""

    tokens_field = "max_completion_tokens"
    """What the provider calls the upper bound of the answer."""

    _recording: Recorded | None = None

    @abstractmethod
    async def _record(self) -> Recorded:
        """Has the SDK make a request for a chat completion, and sends nothing."""

    async def _complete(self, model: str, request: ChatRequest) -> ChatReply:
        if self._recording is None:
            self._recording = await self._record()
        made = self._recording
        body = to_json(chat_body(model, request, self.tokens_field))
        async with self._session.post(made.url, data=body, headers=made.headers, allow_redirects=False) as response:
            content = await response.read()
        if not 200 <= response.status < 300:
            raise RefusedError(_fault(response, content))
        return chat_reply(self.provider.id, model, content)

    def _fault_of(self, error: BaseException) -> HttpFault | None:
        return error.fault if isinstance(error, RefusedError) else None


def _fault(response: ClientResponse, content: bytes) -> HttpFault:
    try:
        body: Any = from_json(content)
    except ValueError:
        body = None
    return error_fault(response.status, response.headers, body)
