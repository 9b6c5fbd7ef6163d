"""Where a provider's key comes from: Vault, or the environment for people without one."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from config.errors import KeyMissingError, UsageError

if TYPE_CHECKING:
    from config.settings import Settings

ENVIRONMENT_VERSION = 0
"""The version that a key from the environment goes by; Vault counts its own from 1."""


@dataclass(frozen=True)
class ProviderKey:
    """A key and the version by which it is known in public; the value is kept out of ``repr``."""

    value: str = field(repr=False)
    version: int


class KeySource(Protocol):
    """Gives the key of a provider; safe to use from any thread."""

    def held(self, provider_id: str) -> ProviderKey | None:
        """The key if it is held and young enough, without asking anybody; raises KeyMissingError if known missing."""

    def get(self, provider_id: str, *, fresh: bool = False) -> ProviderKey:
        """The key; ``fresh`` asks the source again whatever is held.

        Raises:
            KeyMissingError: no key is stored.
            KeyUnavailableError: the source cannot be asked now, and no key is held that may still serve.
        """

    def expire(self, provider_id: str) -> None:
        """Says that the key was changed: one that is held may serve only while the source cannot be asked."""

    def store(self, provider_id: str, key: str) -> int:
        """Stores a key and returns its version.

        Raises:
            UsageError: the source cannot be written, or the rights do not allow it.
            ServiceUnavailableError: the source is away.
        """

    def check(self) -> str:
        """Sees that the source answers and lets us in, and says in words what it is.

        Raises:
            ServiceUnavailableError: it does not.
        """


class EnvironmentKeys:
    """Keys from ``TICKETFLOW_KEY_<ID>``, the id in capitals with ``_`` for ``-``."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = os.environ if environment is None else environment

    def held(self, provider_id: str) -> ProviderKey | None:
        """The key in the environment; see ``KeySource.held``."""
        return self.get(provider_id)

    def get(self, provider_id: str, *, fresh: bool = False) -> ProviderKey:  # noqa: ARG002 - there is nothing older
        """The key in the environment; see ``KeySource.get``."""
        value = self._environment.get(variable_of(provider_id), "")
        if not value:
            raise KeyMissingError(
                provider_id,
                f"no key for provider {provider_id}: set {variable_of(provider_id)} for the workers, or set "
                f"TICKETFLOW_VAULT_URL and run `ticketflow providers set-key {provider_id}`",
            )
        return ProviderKey(value, ENVIRONMENT_VERSION)

    def expire(self, provider_id: str) -> None:
        """Nothing is held here; see ``KeySource.expire``."""

    def store(self, provider_id: str, key: str) -> int:  # noqa: ARG002 - the protocol's signature
        """The environment cannot be written; see ``KeySource.store``."""
        raise UsageError(
            f"no Vault is configured (TICKETFLOW_VAULT_URL): set {variable_of(provider_id)} in the workers' environment"
        )

    def check(self) -> str:
        """The environment is always there; see ``KeySource.check``."""
        return "not configured: keys come from the workers' environment (TICKETFLOW_KEY_<ID>)"


def variable_of(provider_id: str) -> str:
    """The environment variable that holds a provider's key."""
    return f"TICKETFLOW_KEY_{re.sub(r'[^A-Z0-9]', '_', provider_id.upper())}"


def open_keys(settings: "Settings", clock: Callable[[], float] | None = None) -> KeySource:
    """The key source that the settings ask for: Vault if its URL is set, else the environment."""
    if not settings.vault_url:
        return EnvironmentKeys()
    from config.vault import VaultKeys  # hvac costs 0.2 s and 20 MB: only processes that read keys load it

    return VaultKeys(settings, clock) if clock else VaultKeys(settings)
