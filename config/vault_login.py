"""The ways to log in to Vault: an AppRole, whose secret id comes by itself, in a file or wrapped, or Kubernetes."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hvac
from hvac import exceptions as hx
from pydantic import SecretStr

from config.settings import Settings

MAX_FILE_BYTES = 64 * 1024
_ISSUED_BY = r"auth/{mount}/role/[^/]+/secret-id"

Login = Callable[[hvac.Client], dict[str, Any]]
"""Logs a client in and returns ``auth`` of the answer; raises LoginRefusedError and what hvac raises."""


class LoginRefusedError(Exception):
    """Vault does not accept what we show, or we have nothing to show; says what to do and quotes nothing."""


def login_of(settings: Settings) -> Login | None:
    """How to log in by the settings; None if a token is given, which needs no login."""
    if settings.vault_role_id:
        return lambda client: _approle(settings, client)
    if settings.vault_k8s_role:
        return lambda client: _kubernetes(settings, client)
    return None


def unwrapped(settings: Settings, client: hvac.Client) -> Settings:
    """Settings with the secret id that a wrapping token holds; a wrapping token can be used once, by one process.

    Args:
        settings: with ``vault_secret_id_wrapped`` or its file.
        client: without a token.

    Raises:
        LoginRefusedError: the token holds no secret id for our role, has expired, or was used before: by somebody
            who now has the secret id, unless it was an earlier start of ours; or its file cannot be read.
    """
    token = _wrapping_token(settings)
    expected = _ISSUED_BY.format(mount=re.escape(settings.vault_auth_mount or "approle"))
    try:
        held = client.adapter.post("/v1/sys/wrapping/lookup", json={"token": token})
        if not re.fullmatch(expected, str(held["data"]["creation_path"])):
            raise LoginRefusedError(
                "the wrapping token holds something else than a secret id of an AppRole, such as one that was taken "
                "out and wrapped again: do not use it, and revoke the secret id"
            )
        client.token = token
        secret_id = client.adapter.post("/v1/sys/wrapping/unwrap")["data"]["secret_id"]
    except (hx.InvalidRequest, hx.Forbidden, KeyError, TypeError):
        raise LoginRefusedError(
            "the wrapping token of the secret id has expired or was used already: if no worker of yours used it, "
            "somebody else has the secret id: revoke it. Hand out a new one for each start"
        ) from None
    opened = {"vault_secret_id_wrapped": None, "vault_secret_id_wrapped_file": None}
    return settings.model_copy(update={"vault_secret_id": SecretStr(secret_id), **opened})


def _wrapping_token(settings: Settings) -> str:
    if settings.vault_secret_id_wrapped_file:
        return _content(settings.vault_secret_id_wrapped_file, "TICKETFLOW_VAULT_SECRET_ID_WRAPPED_FILE")
    token = settings.vault_secret_id_wrapped
    assert token is not None  # noqa: S101 - asked for where there is one
    return token.get_secret_value()


def _approle(settings: Settings, client: hvac.Client) -> dict[str, Any]:
    mount = settings.vault_auth_mount or "approle"
    try:
        return auth_of(
            client.auth.approle.login(role_id=settings.vault_role_id, secret_id=_secret_id(settings), mount_point=mount)
        )
    except hx.Forbidden:
        raise LoginRefusedError(
            "Vault refuses the role id or secret id; after several refused logins it locks the role out for a while, "
            "with a good secret id as well: docs/security.md says how to prevent that"
        ) from None
    except hx.InvalidRequest:
        raise LoginRefusedError(
            "Vault refuses the role id or secret id; it may have expired: hand out a new one"
        ) from None


def _secret_id(settings: Settings) -> str:
    if settings.vault_secret_id_file:
        return _content(settings.vault_secret_id_file, "TICKETFLOW_VAULT_SECRET_ID_FILE")
    if settings.vault_secret_id:
        return settings.vault_secret_id.get_secret_value()
    raise LoginRefusedError("a wrapped secret id serves workers: this process has none of its own")


def _kubernetes(settings: Settings, client: hvac.Client) -> dict[str, Any]:
    jwt = _content(settings.vault_k8s_token_file, "TICKETFLOW_VAULT_K8S_TOKEN_FILE")
    mount = settings.vault_auth_mount or "kubernetes"
    try:
        return auth_of(client.auth.kubernetes.login(role=settings.vault_k8s_role, jwt=jwt, mount_point=mount))
    except (hx.InvalidRequest, hx.Forbidden):
        raise LoginRefusedError(
            f"Vault refuses the service account's token for the role {settings.vault_k8s_role}"
        ) from None


def auth_of(answer: Any) -> dict[str, Any]:
    """The part of an answer that holds a token; hvac hands out a redirect that it may not follow as a raw response."""
    auth = answer.get("auth") if isinstance(answer, dict) else None
    if not isinstance(auth, dict):
        raise hx.UnexpectedError("not an answer of Vault")
    return auth


def _content(file: Path, setting: str) -> str:
    """A file's text, read anew each time: agents and Kubernetes replace it."""
    try:
        with file.open("rb") as stream:
            text = stream.read(MAX_FILE_BYTES).decode("ascii").strip()
    except OSError as error:
        raise LoginRefusedError(f"{setting}: {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise LoginRefusedError(f"{setting}: {file} holds something else than a token") from None
    if not text:
        raise LoginRefusedError(f"{setting}: {file} is empty")
    return text
