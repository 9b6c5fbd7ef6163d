"""Adapters: one per wire protocol, loaded when a provider of its type is first called."""

import logging
import os
from functools import cache
from importlib import import_module

import aiohttp

from config.errors import ProviderRejectedError
from config.providers import Provider
from config.settings import Settings
from worker.adapters.base import Adapter

__all__ = ["ADAPTERS", "Adapter", "adapter_class", "make_adapter", "quiet_sdks", "scrub_environment"]

log = logging.getLogger(__name__)

ADAPTERS: dict[str, str] = {
    "openai-compatible": "worker.adapters.openai_compatible:OpenAICompatibleAdapter",
    "groq": "worker.adapters.groq_cloud:GroqAdapter",
    "gemini": "worker.adapters.gemini:GeminiAdapter",
    "gemini/google-generativeai": "worker.adapters.gemini_legacy:GeminiLegacyAdapter",
}
"""By provider type; ``type/SDK`` where a setting names an SDK other than the first."""

_SCRUBBED_PREFIXES = ("OPENAI_", "GROQ_", "GEMINI_", "GOOGLE_", "VAULT_", "BAO_")
_SCRUBBED = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"})
_TALKATIVE = ("openai", "groq", "google", "google_genai", "httpx", "httpx2", "httpcore", "urllib3")


def make_adapter(provider: Provider, key: str | None, session: aiohttp.ClientSession, settings: Settings) -> Adapter:
    """The adapter for a provider's type; cheap once its SDK is loaded, since all else sits in the session.

    Args:
        provider: its definition.
        key: its key; None for a server on this machine that needs none.
        session: the process' guarded session.
        settings: of the process.

    Raises:
        ProviderRejectedError: the SDK that the settings ask for is not installed.
        ProviderAuthError: the key cannot be sent.
    """
    return adapter_class(provider, settings)(provider, key, session, settings)


def adapter_class(provider: Provider, settings: Settings) -> type[Adapter]:
    """The adapter of a provider's type; its first use imports an SDK, up to half a second that no event loop has.

    Raises:
        ProviderRejectedError: the SDK that the settings ask for is not installed.
    """
    path = ADAPTERS.get(f"{provider.type}/{settings.gemini_sdk}") or ADAPTERS[provider.type]
    module, _, name = path.partition(":")
    try:
        adapter: type[Adapter] = getattr(import_module(module), name)
    except ImportError:
        words = (
            f"the SDK for {provider.type} providers is not installed: pip install 'ticketflow[{settings.gemini_sdk}]'"
        )
        raise ProviderRejectedError(provider.id, words) from None
    if adapter.deprecation:
        _say_once(adapter.deprecation)
    return adapter


@cache
def _say_once(words: str) -> None:
    log.warning(words)


def scrub_environment() -> None:
    """Removes what SDKs would read behind our back: keys, base URLs, headers, proxies; called when a worker starts."""
    for name in list(os.environ):
        if name.startswith(_SCRUBBED_PREFIXES) or name.upper() in _SCRUBBED:
            del os.environ[name]


def quiet_sdks() -> None:
    """Keeps SDKs from logging requests, whose text is our users'; called when a worker starts, whatever its level."""
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
