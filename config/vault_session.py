"""An authenticated connection to Vault; hvac's traps (docs/decisions/0002) are closed here."""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import hvac
import requests
from hvac import exceptions as hx

from config.settings import Settings
from config.vault_login import Login, LoginRefusedError, auth_of, login_of

log = logging.getLogger(__name__)

TIMEOUT_S = (2.0, 3.0)
MIN_RENEWAL_S = 1.0
ENDLESS_S = 3600.0
"""How often a token that never ends is looked at."""


class VaultSession:
    """One authenticated hvac client per process: logs in, renews, and logs in again when its token is gone.

    It takes nothing from the environment or the home folder, follows no redirect and no proxy, and is made anew after
    a fork. With a token it renews what can be renewed; else it logs in again when the token's life ends, and where that
    fails the token serves to its end. Whatever may be wrong with the credentials is a LoginRefusedError, so that a
    refusal of a read is about the read.

    Args:
        settings: address and credentials.
        clock: monotonic seconds.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self._login = login_of(settings)
        self._pid: int | None = None
        self._client: hvac.Client
        self._renew_at = 0.0
        self._first_ttl_s = 0.0
        self.lock = threading.RLock()

    def client(self) -> hvac.Client:
        """The client, with a token that is good for now; call it with ``lock`` held."""
        if self._pid != os.getpid():
            self._client = new_client(self._settings)
            self._pid, self._renew_at = os.getpid(), 0.0
        if self._clock() >= self._renew_at:
            life_s = self._renew()
            self._renew_at = self._clock() + max(MIN_RENEWAL_S, life_s * 2 / 3)
        return self._client

    def forget_token(self) -> None:
        """After a 403: the next ``client`` sees whether the token is good, or logs in again."""
        self._client.token = ""
        self._renew_at = 0.0

    def left_s(self) -> float:
        """The life of the token in seconds; 0 if there is none or it is dead."""
        if not self._client.token:
            return 0.0
        try:
            return float(body_of(self._client.auth.token.lookup_self())["data"]["ttl"] or ENDLESS_S)
        except hx.Forbidden:
            return 0.0

    def _renew(self) -> float:
        """Makes the token good for a while and returns its life in seconds."""
        if self._login:
            return self._renew_login(self._login)
        token = self._settings.vault_token
        self._client.token = token.get_secret_value() if token else ""
        try:
            data = body_of(self._client.auth.token.lookup_self())["data"]
            if data.get("renewable"):
                return float(auth_of(self._client.auth.token.renew_self())["lease_duration"])
        except (hx.Forbidden, hx.InvalidRequest):
            raise LoginRefusedError("the token is not accepted: it was revoked or has expired") from None
        return float(data.get("ttl") or ENDLESS_S)

    def _renew_login(self, login: Login) -> float:
        auth: dict[str, Any] | None = None
        if self._client.token:
            try:
                auth = auth_of(self._client.auth.token.renew_self())
            except (hx.Forbidden, hx.InvalidRequest):
                auth = None  # dead; or it lives, but Vault could not ask Kubernetes about the account
        if auth is None or auth["lease_duration"] < self._first_ttl_s / 3:  # its maximum life is near
            return self._log_in(login)
        return float(auth["lease_duration"])

    def _log_in(self, login: Login) -> float:
        token, self._client.token = self._client.token, ""
        try:
            self._first_ttl_s = float(login(self._client)["lease_duration"])
        except (LoginRefusedError, hx.VaultError, requests.RequestException) as error:
            self._client.token = token
            left_s = self.left_s()
            if not left_s:
                self._client.token = ""
                raise
            words = str(error) if isinstance(error, LoginRefusedError) else type(error).__name__
            log.warning("no new login to Vault, the token lives %.0f s more: %s", left_s, words)
            return left_s
        return self._first_ttl_s


def new_client(settings: Settings) -> hvac.Client:
    """An hvac client without a token and with none of its surprises (docs/decisions/0002)."""
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


def body_of(answer: Any) -> dict[str, Any]:
    """The answer, if it is one: hvac hands out a redirect that it may not follow, or a page, as a raw response."""
    if not isinstance(answer, dict):
        raise hx.UnexpectedError("not an answer of Vault")
    return answer
