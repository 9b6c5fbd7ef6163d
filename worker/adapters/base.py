"""What every adapter is: a total deadline around a call, and one door through which errors leave."""

import asyncio
from abc import ABC, abstractmethod
from typing import ClassVar

import aiohttp

from config.errors import CallError, ProviderAuthError, ProviderTimeoutError
from config.providers import Provider
from config.settings import Settings
from jobs.chat import ChatReply, ChatRequest
from worker.adapters.faults import RULES, HttpFault, Rule, refused, translated
from worker.structured import with_json_instructions

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
        deadline = asyncio.timeout(self.provider.timeout_s)
        try:
            async with deadline:
                return await self._complete(model, request)
        except Exception as error:
            failure = self._failure(error, deadline.expired())
        # Raised out here, so that the foreign error is not even its context.
        raise failure

    @abstractmethod
    async def _complete(self, model: str, request: ChatRequest) -> ChatReply:
        """The call itself; may raise anything."""

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
