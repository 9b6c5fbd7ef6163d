"""OpenAI and every endpoint that speaks its chat completions, over the official SDK."""

from urllib.parse import urlsplit

import aiohttp
import httpx2
import openai
from httpx_aiohttp.httpx2 import AiohttpTransport

from config.errors import ProviderConnectionError, ProviderReplyError, ProviderTimeoutError
from config.providers import Model, Provider
from config.settings import Settings
from worker.adapters.base import NO_KEY
from worker.adapters.chat_completions import ChatCompletionsAdapter, Recorded
from worker.adapters.faults import RULES, HttpFault
from worker.adapters.openai_wire import error_fault, listed_models
from worker.adapters.tls import UNUSED_TLS
from worker.session import CONNECT_TIMEOUT_S

# OpenAI's reasoning models refuse ``max_tokens``, and its other models take both; most servers that are compatible
# know ``max_tokens`` alone. Endpoints tell nothing of the kind about themselves, so this is a fact about hosts.
_NEWER_TOKENS_FIELD = frozenset({"api.openai.com"})


class OpenAICompatibleAdapter(ChatCompletionsAdapter):
    """Calls ``POST {base_url}/chat/completions``."""

    rules = (
        *RULES,
        (openai.APITimeoutError, ProviderTimeoutError, "did not answer in time"),
        (openai.APIConnectionError, ProviderConnectionError, "could not be reached"),
        (openai.OpenAIError, ProviderReplyError, "sent an answer that its SDK does not understand"),
    )

    def __init__(self, provider: Provider, key: str | None, session: aiohttp.ClientSession, settings: Settings) -> None:
        super().__init__(provider, key, session, settings)
        if urlsplit(provider.base_url).hostname not in _NEWER_TOKENS_FIELD:
            self.tokens_field = "max_tokens"
        timeout_s = provider.timeout_s
        self._client = openai.AsyncOpenAI(
            api_key=self._key,
            base_url=provider.base_url,
            max_retries=0,
            timeout=httpx2.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s)),
            http_client=httpx2.AsyncClient(
                transport=AiohttpTransport(client=session, verify=UNUSED_TLS), trust_env=False, follow_redirects=False
            ),
        )
        # Per request, since headers given to the client lose to OPENAI_CUSTOM_HEADERS where the spelling differs.
        sign = openai.omit if self._key == NO_KEY else f"Bearer {self._key}"
        unsent = dict.fromkeys(("OpenAI-Organization", "OpenAI-Project"), openai.omit)
        self._headers = {"Authorization": sign, **unsent}

    async def _record(self) -> Recorded:
        made: list[httpx2.Request] = []

        def answer(request: httpx2.Request) -> httpx2.Response:
            made.append(request)
            return httpx2.Response(200, json={})

        nowhere = httpx2.AsyncClient(transport=httpx2.MockTransport(answer), trust_env=False)
        client = self._client.with_options(http_client=nowhere)
        await client.post("/chat/completions", body={}, options={"headers": self._headers}, cast_to=httpx2.Response)
        return Recorded.of(str(made[0].url), made[0].headers)

    async def _models(self) -> tuple[Model, ...]:
        response = await self._client.get("/models", options={"headers": self._headers}, cast_to=httpx2.Response)
        return listed_models(response.content)

    def _fault_of(self, error: BaseException) -> HttpFault | None:
        if not isinstance(error, openai.APIStatusError):
            return super()._fault_of(error)
        return error_fault(error.status_code, error.response.headers, error.body)
