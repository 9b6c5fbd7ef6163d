"""Keys in Vault's KV v2: held for a minute, served on while Vault is away, gone when Vault says so."""

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests
from hvac import exceptions as hx

from config.errors import KeyMissingError, KeyUnavailableError, ServiceUnavailableError, SettingsError, UsageError
from config.keys import ProviderKey
from config.settings import Settings, address_of
from config.vault_login import LoginRefusedError, unwrapped
from config.vault_session import VaultSession, body_of, new_client

log = logging.getLogger(__name__)

MISSING_TTL_S = 2.0
AWAY_PAUSE_S = 2.0
_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")  # hvac lets ".." through, and requests normalises it
_AWAY = (
    hx.VaultDown,
    hx.InternalServerError,
    hx.BadGateway,
    hx.RateLimitExceeded,
    hx.VaultNotInitialized,
    hx.UnexpectedError,
    requests.RequestException,
)


@dataclass(frozen=True)
class _Held:
    key: ProviderKey | None  # None: Vault says that there is none
    asked_at: float  # before the question went out, so that a write that came later is never hidden by the answer


class VaultKeys:
    """Provider keys from Vault.

    Kept: one key per provider id. Lifetime: ``key_ttl_s``, then it is read again; while Vault is away a key that is
    held serves on for ``key_stale_s``. Eviction: a key that Vault says is gone is dropped at once; that there is none
    is kept for two seconds, so that a provider without a key does not ask Vault for each of its jobs. Vault that did
    not answer is left alone for two seconds, so that one that hangs holds up one job at a time and not all in turn.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self._session = VaultSession(settings, clock)
        self._held: dict[str, _Held] = {}
        self._expired_at: dict[str, float] = {}
        self._away_until = float("-inf")
        self._away_reason = ""
        self._reading = False
        self.stale_reads = 0

    def held(self, provider_id: str) -> ProviderKey | None:
        """The key if it is held and young enough; see ``KeySource.held``."""
        held = self._held.get(provider_id)
        if held is None:
            return None
        if self._is_young(provider_id, held):
            if held.key is None:
                raise KeyMissingError.for_provider(provider_id)
            return held.key
        # One asks, the others need not wait for it: Vault may take seconds to answer, or not to.
        return self._stale(held) if self._reading or self._is_away else None

    def get(self, provider_id: str, *, fresh: bool = False) -> ProviderKey:
        """The key of a provider; see ``KeySource.get``."""
        asked_at = self._clock()
        with self._session.lock:
            held = self._held.get(provider_id)
            # Whoever waited for the lock while somebody else read the key afresh has what it came for.
            if not fresh or (held and held.asked_at > asked_at):
                key = self.held(provider_id)
                if key:
                    return key
            asked_at = self._clock()
            try:
                key = self._read_unless_away(provider_id)
            except KeyUnavailableError:
                stale = self._stale(held) if held else None
                if stale and not fresh:  # after a 401 an old key is of no use: then the job waits for Vault
                    return stale
                raise
            except KeyMissingError:
                self._held[provider_id] = _Held(None, asked_at)
                raise
            self._held[provider_id] = _Held(key, asked_at)
            return key

    def expire(self, provider_id: str) -> None:
        """Reads the key anew when it is next asked for; see ``KeySource.expire``."""
        self._expired_at[provider_id] = self._clock()

    def store(self, provider_id: str, key: str) -> int:
        """Writes a new version of a provider's key; see ``KeySource.store``."""
        with self._session.lock, self._errors_of_service():
            try:
                answer = self._session.client().secrets.kv.v2.create_or_update_secret(
                    path=self._path(provider_id), secret={"api_key": key}, mount_point=self._settings.vault_mount
                )
            except hx.Forbidden:
                raise UsageError(
                    f"Vault does not allow this token to write {self._settings.vault_mount}/{self._path(provider_id)}: "
                    "set-key needs an operator's rights"
                ) from None
            self._held.pop(provider_id, None)
            return int(body_of(answer)["data"]["version"])

    def check(self) -> str:
        """Sees that Vault answers and lets us in; see ``KeySource.check``."""
        with self._session.lock, self._errors_of_service():
            try:
                body_of(self._session.client().auth.token.lookup_self())
            except hx.Forbidden:
                self._session.forget_token()
                raise self._away("the token is not accepted") from None
        return self._address

    def _read_unless_away(self, provider_id: str) -> ProviderKey:
        if self._is_away:
            raise KeyUnavailableError(
                provider_id, f"Vault at {self._address} cannot be asked: it was away a moment ago"
            )
        self._reading = True
        try:
            key = self._read(provider_id)
        except KeyUnavailableError as error:
            self._away_until = self._clock() + AWAY_PAUSE_S
            self._say_away(error.message)
            raise
        finally:
            self._reading = False
        self._say_away("")
        return key

    def _say_away(self, reason: str) -> None:
        """Tells the log once, not for each of the jobs that wait."""
        if reason and reason != self._away_reason:
            log.warning("known keys serve on, jobs that need another key wait: %s", reason)
        elif self._away_reason and not reason:
            log.warning("Vault at %s gives keys again", self._address)
        self._away_reason = reason

    def _read(self, provider_id: str) -> ProviderKey:
        for last in (False, True):
            try:
                answer = self._session.client().secrets.kv.v2.read_secret_version(
                    path=self._path(provider_id),
                    mount_point=self._settings.vault_mount,
                    raise_on_deleted_version=True,
                )
                return _key_of(body_of(answer), provider_id)
            except hx.Forbidden:  # a dead token and a refusing policy look the same; a login is for the dead alone
                if last or self._session.left_s():
                    raise KeyMissingError(
                        provider_id, f"Vault does not let this process read the key of provider {provider_id}"
                    ) from None
                self._session.forget_token()
            except hx.InvalidPath:
                raise KeyMissingError.for_provider(provider_id) from None  # hvac's errors carry the body
            except LoginRefusedError as error:
                raise KeyUnavailableError(provider_id, f"Vault at {self._address} cannot be asked: {error}") from None
            except (*_AWAY, hx.InvalidRequest) as error:
                raise KeyUnavailableError(
                    provider_id, f"Vault at {self._address} cannot be asked: {type(error).__name__}"
                ) from None
        raise KeyMissingError.for_provider(provider_id)

    def _path(self, provider_id: str) -> str:
        if not _SEGMENT.match(provider_id):
            raise KeyMissingError(provider_id, "this provider id cannot name a key")
        return f"{self._settings.vault_prefix}/{provider_id}"

    def _stale(self, held: _Held) -> ProviderKey | None:
        """A key that is no longer young, while nothing better can be had."""
        if held.key is None or self._age_s(held) >= self._settings.key_stale_s:
            return None
        self.stale_reads += 1
        return held.key

    @property
    def _is_away(self) -> bool:
        return self._clock() < self._away_until

    def _is_young(self, provider_id: str, held: _Held) -> bool:
        ttl_s = self._settings.key_ttl_s if held.key else MISSING_TTL_S
        return self._age_s(held) < ttl_s and held.asked_at > self._expired_at.get(provider_id, float("-inf"))

    def _age_s(self, held: _Held) -> float:
        return self._clock() - held.asked_at

    @property
    def _address(self) -> str:
        return address_of(self._settings.vault_url or "")

    def _away(self, reason: str) -> ServiceUnavailableError:
        return ServiceUnavailableError("Vault", self._address, reason)

    @contextmanager
    def _errors_of_service(self) -> Iterator[None]:
        try:
            yield
        except LoginRefusedError as error:
            raise self._away(str(error)) from None
        except hx.InvalidRequest:
            raise self._away("it refuses the request") from None
        except _AWAY as error:
            raise self._away(type(error).__name__) from None


def _key_of(answer: dict[str, Any], provider_id: str) -> ProviderKey:
    try:
        value, version = answer["data"]["data"]["api_key"], int(answer["data"]["metadata"]["version"])
    except (KeyError, TypeError, ValueError):
        raise KeyMissingError(
            provider_id, f"Vault holds no field `api_key` for provider {provider_id}: set the key again"
        ) from None
    if not isinstance(value, str) or not value.strip():
        raise KeyMissingError.for_provider(provider_id)
    return ProviderKey(value.strip(), version)


def unwrap_credentials(settings: Settings) -> Settings:
    """Settings with the secret id in the place of the wrapping token; for the start of a worker.

    Raises:
        SettingsError: the token is of no use, and why.
        ServiceUnavailableError: Vault is away, and may be asked again.
    """
    try:
        return unwrapped(settings, new_client(settings))
    except LoginRefusedError as error:
        raise SettingsError(str(error)) from None
    except _AWAY as error:
        raise ServiceUnavailableError("Vault", address_of(settings.vault_url or ""), type(error).__name__) from None
