"""Keys in Vault's KV v2, read with a token or an AppRole; hvac's traps (docs/decisions/0002) are closed here."""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import hvac
import requests
from hvac import exceptions as hx

from config.errors import KeyMissingError, KeyUnavailableError, ServiceUnavailableError, UsageError
from config.keys import ProviderKey
from config.settings import Settings, address_of

TIMEOUT_S = (2.0, 3.0)
MIN_RENEWAL_S = 1.0
MISSING_TTL_S = 2.0
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
    read_at: float


class VaultSession:
    """One authenticated hvac client per process: logs in, renews, and logs in again when its token is gone.

    It takes nothing from the environment or the home folder, follows no redirect and no proxy, and is made anew after
    a fork. With a token it renews what can be renewed; with an AppRole it logs in again when the token's life ends.

    Args:
        settings: address and credentials.
        clock: monotonic seconds.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self._pid: int | None = None
        self._client: hvac.Client
        self._renew_at = 0.0
        self._first_ttl_s = 0.0
        self.lock = threading.RLock()

    def client(self) -> hvac.Client:
        """The client, with a token that is good for now; call it with ``lock`` held."""
        if self._pid != os.getpid():
            self._client = self._new_client()
            self._pid, self._renew_at = os.getpid(), 0.0
        if self._clock() >= self._renew_at:
            life_s = self._renew()
            self._renew_at = self._clock() + max(MIN_RENEWAL_S, life_s * 2 / 3)
        return self._client

    def forget_token(self) -> None:
        """After a 403: the next ``client`` logs in again."""
        self._client.token = ""
        self._renew_at = 0.0

    @property
    def can_log_in(self) -> bool:
        """Whether a refused token can be replaced by logging in."""
        return bool(self._settings.vault_role_id)

    def _new_client(self) -> hvac.Client:
        settings = self._settings
        session = requests.Session()
        session.trust_env = False
        verify: str | bool = str(settings.vault_ca_file) if settings.vault_ca_file else True
        session.verify = verify
        return hvac.Client(
            url=settings.vault_url,
            token="",  # None would read VAULT_TOKEN and ~/.vault-token
            session=session,
            verify=verify,
            timeout=cast(Any, TIMEOUT_S),  # requests takes a pair; the stubs know one number
            allow_redirects=False,
            namespace=settings.vault_namespace,
        )

    def _renew(self) -> float:
        """Makes the token good for a while and returns its life in seconds."""
        if self.can_log_in:
            return self._renew_login()
        token = self._settings.vault_token
        self._client.token = token.get_secret_value() if token else ""
        data = _body(self._client.auth.token.lookup_self())["data"]
        if data.get("renewable"):
            return float(_body(self._client.auth.token.renew_self())["auth"]["lease_duration"])
        return float(data.get("ttl") or 3600)

    def _renew_login(self) -> float:
        auth: dict[str, Any] | None = None
        if self._client.token:
            try:
                auth = _body(self._client.auth.token.renew_self())["auth"]
            except (hx.Forbidden, hx.InvalidRequest):
                auth = None  # expired or revoked
        if auth is None or auth["lease_duration"] < self._first_ttl_s / 3:  # its maximum life is near
            secret = self._settings.vault_secret_id
            self._client.token = ""
            answer = self._client.auth.approle.login(
                role_id=self._settings.vault_role_id, secret_id=secret.get_secret_value() if secret else None
            )
            auth = _body(answer)["auth"]
            self._first_ttl_s = float(auth["lease_duration"])
        return float(auth["lease_duration"])


class VaultKeys:
    """Provider keys from Vault.

    Kept: one key per provider id. Lifetime: ``key_ttl_s``, then it is read again; while Vault is away a key that is
    held serves on for ``key_stale_s``. Eviction: a key that Vault says is gone is dropped at once; that there is none
    is kept for two seconds, so that a provider without a key does not ask Vault for each of its jobs.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self._session = VaultSession(settings, clock)
        self._held: dict[str, _Held] = {}
        self.stale_reads = 0

    def held(self, provider_id: str) -> ProviderKey | None:
        """The key if it is held and young enough; see ``KeySource.held``."""
        held = self._held.get(provider_id)
        if held is None or self._age_s(held) >= (self._settings.key_ttl_s if held.key else MISSING_TTL_S):
            return None
        if held.key is None:
            raise KeyMissingError.for_provider(provider_id)
        return held.key

    def get(self, provider_id: str, *, fresh: bool = False) -> ProviderKey:
        """The key of a provider; see ``KeySource.get``."""
        asked_at = self._clock()
        with self._session.lock:
            held = self._held.get(provider_id)
            # Whoever waited for the lock while somebody else read the key afresh has what it came for.
            if not fresh or (held and held.read_at > asked_at):
                key = self.held(provider_id)
                if key:
                    return key
            try:
                key = self._read(provider_id)
            except KeyUnavailableError:
                if held and held.key and self._age_s(held) < self._settings.key_stale_s:
                    self.stale_reads += 1
                    return held.key
                raise
            except KeyMissingError:
                self._held[provider_id] = _Held(None, self._clock())
                raise
            self._held[provider_id] = _Held(key, self._clock())
            return key

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
            return int(_body(answer)["data"]["version"])

    def check(self) -> str:
        """Sees that Vault answers and lets us in; see ``KeySource.check``."""
        with self._session.lock, self._errors_of_service():
            try:
                _body(self._session.client().auth.token.lookup_self())
            except hx.Forbidden:
                raise self._away("the token is not accepted") from None
        return self._address

    def _read(self, provider_id: str) -> ProviderKey:
        for may_log_in in (self._session.can_log_in, False):
            try:
                answer = self._session.client().secrets.kv.v2.read_secret_version(
                    path=self._path(provider_id),
                    mount_point=self._settings.vault_mount,
                    raise_on_deleted_version=True,
                )
                return _key_of(_body(answer), provider_id)
            except hx.Forbidden:  # a dead token and a refusing policy look the same: log in once, then it is policy
                self._session.forget_token()
                if not may_log_in:
                    raise KeyMissingError(
                        provider_id, f"Vault does not let this process read the key of provider {provider_id}"
                    ) from None
            except hx.InvalidPath:
                raise KeyMissingError.for_provider(provider_id) from None  # hvac's errors carry the body
            except hx.InvalidRequest:
                raise KeyUnavailableError(provider_id, "Vault refuses the role id or secret id") from None
            except _AWAY as error:
                raise KeyUnavailableError(
                    provider_id, f"Vault at {self._address} cannot be asked: {type(error).__name__}"
                ) from None
        raise KeyMissingError.for_provider(provider_id)

    def _path(self, provider_id: str) -> str:
        if not _SEGMENT.match(provider_id):
            raise KeyMissingError(provider_id, "this provider id cannot name a key")
        return f"{self._settings.vault_prefix}/{provider_id}"

    def _age_s(self, held: _Held) -> float:
        return self._clock() - held.read_at

    @property
    def _address(self) -> str:
        return address_of(self._settings.vault_url or "")

    def _away(self, reason: str) -> ServiceUnavailableError:
        return ServiceUnavailableError("Vault", self._address, reason)

    @contextmanager
    def _errors_of_service(self) -> Iterator[None]:
        try:
            yield
        except hx.InvalidRequest:
            raise self._away("it refuses the role id, secret id or request") from None
        except _AWAY as error:
            raise self._away(type(error).__name__) from None


def _body(answer: Any) -> dict[str, Any]:
    """The answer, if it is one: hvac hands out a redirect that it may not follow, or a page, as a raw response."""
    if not isinstance(answer, dict):
        raise hx.UnexpectedError("not an answer of Vault")
    return answer


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
