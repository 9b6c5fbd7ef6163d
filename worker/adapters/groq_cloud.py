"""Groq, over its official SDK."""

import aiohttp
import groq
import httpx
from httpx_aiohttp import AiohttpTransport

from config.errors import ProviderConnectionError, ProviderReplyError, ProviderTimeoutError
from config.providers import Model, Provider
from config.settings import Settings
from worker.adapters.base import NO_KEY
from worker.adapters.chat_completions import ChatCompletionsAdapter, Recorded
from worker.adapters.faults import RULES, HttpFault
from worker.adapters.openai_wire import error_fault, listed_models
from worker.adapters.tls import UNUSED_TLS
from worker.session import CONNECT_TIMEOUT_S

_API = "/openai/v1"


class GroqAdapter(ChatCompletionsAdapter):
    """Calls ``POST {base_url}/openai/v1/chat/completions``; a base URL that ends in ``/openai/v1`` means the same."""

    rules = (
        *RULES,
        (groq.APITimeoutError, ProviderTimeoutError, "did not answer in time"),
        (groq.APIConnectionError, ProviderConnectionError, "could not be reached"),
        (groq.GroqError, ProviderReplyError, "sent an answer that its SDK does not understand"),
    )

    def __init__(self, provider: Provider, key: str | None, session: aiohttp.ClientSession, settings: Settings) -> None:
        super().__init__(provider, key, session, settings)
        timeout_s = provider.timeout_s
        self._client = groq.AsyncGroq(
            api_key=self._key,
            base_url=provider.base_url.rstrip("/").removesuffix(_API),
            max_retries=0,
            timeout=httpx.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s)),
            http_client=self._http_client(AiohttpTransport(client=session, verify=UNUSED_TLS)),
        )

    def _http_client(self, transport: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
        hooks = {"request": [self._sign]}
        return httpx.AsyncClient(transport=transport, event_hooks=hooks, trust_env=False, follow_redirects=False)

    async def _sign(self, request: httpx.Request) -> None:
        """Has the last word on who we are: GROQ_CUSTOM_HEADERS would add a second key, spelled in lower case."""
        del request.headers["Authorization"]
        if self._key != NO_KEY:
            request.headers["Authorization"] = f"Bearer {self._key}"

    async def _record(self) -> Recorded:
        made: list[httpx.Request] = []

        def answer(request: httpx.Request) -> httpx.Response:
            made.append(request)
            return httpx.Response(200, json={})

        client = self._client.with_options(http_client=self._http_client(httpx.MockTransport(answer)))
        await client.post(f"{_API}/chat/completions", body={}, cast_to=httpx.Response)
        return Recorded.of(str(made[0].url), made[0].headers)

    async def _models(self) -> tuple[Model, ...]:
        response = await self._client.get(f"{_API}/models", cast_to=httpx.Response)
        return listed_models(response.content)

    def _fault_of(self, error: BaseException) -> HttpFault | None:
        if not isinstance(error, groq.APIStatusError):
            return super()._fault_of(error)
        return error_fault(error.status_code, error.response.headers, error.body)
