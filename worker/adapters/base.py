"""What every adapter is: a total deadline around a call, and one door through which errors leave."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, ClassVar, TypeVar

import aiohttp
from pydantic import ValidationError

from config.errors import CallError, ProviderAuthError, ProviderRejectedError, ProviderTimeoutError
from config.providers import Model, Provider
from config.settings import Settings
from jobs.chat import ChatReply, ChatRequest, Usage
from worker.adapters.faults import RULES, HttpFault, Rule, refused, translated
from worker.structured import with_json_instructions

MAX_MODELS = 2000
"""More than any provider lists; OpenRouter, the longest, had some 500 in 2026."""

Answer = TypeVar("Answer")

NO_KEY = "none"
"""Stands in where a server on this machine needs no key and an SDK insists on one."""


class Adapter(ABC):
    """Speaks one wire protocol to one provider with one key; made anew when any of them changes, never changed.

    Args:
        provider: where and how.
        key: the provider's key; None for a server on this machine that needs none.
        session: the process' guarded session; it stays open when the adapter goes.
        settings: of the process.
    """

    rules: ClassVar[tuple[Rule, ...]] = RULES
    deprecation: ClassVar[str | None] = None
    """What the log says once where this adapter is used and should not be for long."""

    def __init__(self, provider: Provider, key: str | None, session: aiohttp.ClientSession, settings: Settings) -> None:
        key = (key or "").strip()
        if not key.isascii() or not key.isprintable() or " " in key:
            raise ProviderAuthError(provider.id, f"the key stored for {provider.id} cannot be sent as a header")
        self.provider, self._key = provider, key or NO_KEY
        self._session, self._settings = session, settings

    def __repr__(self) -> str:
        return f"{type(self).__name__}(provider={self.provider.id!r})"

    async def complete(self, model: str, request: ChatRequest) -> ChatReply:
        """One answer of the model, by exactly one HTTP request; nothing is tried twice here.

        Args:
            model: what the provider calls it.
            request: what is asked; a schema is sent natively where the provider is known to have that.

        Raises:
            CallError: whatever went wrong; it carries no error of an SDK, since those quote keys and prompts.
        """
        if request.json_schema is not None and not self.provider.capabilities.structured_output:
            request = with_json_instructions(request)
        if any(message.images for message in request.messages) and not self.provider.capabilities.multimodal:
            provider_id = self.provider.id
            how = f"`ticketflow providers set {provider_id} --multimodal` if it does"
            raise ProviderRejectedError(provider_id, f"{provider_id} is not known to take images; {how}")
        return await self._within_deadline(lambda: self._complete(model, request))

    async def models(self) -> tuple[Model, ...]:
        """What the endpoint lists, by id, without prices; one HTTP request a page.

        Raises:
            CallError: as ``complete``; an endpoint that has no list refuses with 404 or the like.
        """
        return await self._within_deadline(self._models)

    async def reach(self) -> int:
        """The status with which the endpoint answers a request without a key; any will do.

        Raises:
            CallError: no answer came, or its address may not be dialled.
        """
        try:
            return await self._within_deadline(self._reach)
        except CallError as error:
            if error.status is None:
                raise
            return error.status  # a redirect, say: it is not followed, but it is an answer

    async def _reach(self) -> int:
        async with self._session.get(self.provider.base_url, allow_redirects=False) as answer:
            return answer.status

    async def _within_deadline(self, work: Callable[[], Awaitable[Answer]]) -> Answer:
        """Runs a call; whatever goes wrong leaves as a CallError."""
        deadline = asyncio.timeout(self.provider.timeout_s)
        try:
            async with deadline:
                return await work()
        except Exception as error:
            failure = self._failure(error, deadline.expired())
        # Raised out here, so that the foreign error is not even its context.
        raise failure

    @abstractmethod
    async def _complete(self, model: str, request: ChatRequest) -> ChatReply:
        """The call itself; may raise anything."""

    @abstractmethod
    async def _models(self) -> tuple[Model, ...]:
        """The list itself; may raise anything."""

    @abstractmethod
    def _fault_of(self, error: BaseException) -> HttpFault | None:
        """What the SDK's error says in terms of HTTP, if it is a refusal by status."""

    def _failure(self, error: Exception, expired: bool) -> CallError:
        if isinstance(error, CallError):
            return type(error)(*error.args)
        provider_id = self.provider.id
        if expired:
            return ProviderTimeoutError(
                provider_id, f"{provider_id} did not answer within {self.provider.timeout_s:g} s"
            )
        fault = self._fault_of(error)
        return refused(provider_id, fault, self._key) if fault else translated(provider_id, error, self.rules)


def unusable(kind: type[CallError], provider_id: str, words: str, usage: Usage) -> CallError:
    """The error for an answer that came, was paid for and is of no use."""
    return kind(provider_id, f"{provider_id} {words}", 200, None, usage.input_tokens, usage.output_tokens)


def known_models(listed: Iterable[tuple[Any, Any, Any]]) -> tuple[Model, ...]:
    """Models of what an endpoint listed, by id.

    Args:
        listed: id, name and context window in tokens; what is no fit name or number is taken as not said, and a model
            whose id does not fit is left out.
    """
    found: dict[str, Model] = {}
    for model_id, name, context_tokens in listed:
        known_name = name if isinstance(name, str) and name.isprintable() and name != model_id else None
        tokens = context_tokens if isinstance(context_tokens, int) and context_tokens > 0 else None
        try:
            model = Model(id=model_id, name=known_name, context_window_tokens=tokens)
        except ValidationError:
            continue
        if model.id.isprintable() and len(found) < MAX_MODELS:
            found[model.id] = model
    return tuple(found[key] for key in sorted(found))
