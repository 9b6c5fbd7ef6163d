"""Who may do what in the embedded Vault: operators manage keys, workers read them."""

import json
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any

from config.errors import ServiceUnavailableError
from config.settings import Settings

ANSWER_S, HEALTH_S = 15.0, 1.0
OPERATOR, WORKER = "ticketflow-operator", "ticketflow-worker"
OPERATOR_PERIOD = "768h"
"""The operator's token lives so long after its last renewal: as long as Vault allows."""

_MOUNT = Settings.model_fields["vault_mount"].default
_KEYS = Settings.model_fields["vault_prefix"].default
_POLICIES = {
    OPERATOR: f"""
        path "{_MOUNT}/data/{_KEYS}/*" {{ capabilities = ["create", "update", "read", "delete"] }}
        path "{_MOUNT}/metadata/{_KEYS}/*" {{ capabilities = ["create", "update", "read", "delete", "list"] }}
        """,
    WORKER: f"""
        path "{_MOUNT}/data/{_KEYS}/*" {{ capabilities = ["read"] }}
        """,
}
_ROLE = {"token_policies": [WORKER], "token_ttl": "1h", "token_max_ttl": "24h"}
_NO_LOCKOUT = {"user_lockout_config": {"lockout_disable": True}}


@dataclass(frozen=True)
class Credentials:
    """What operators and workers show to Vault; ``operator_accessor`` can only revoke."""

    operator_token: str = field(repr=False)
    operator_accessor: str = field(repr=False)
    role_id: str = field(repr=False)
    secret_id: str = field(repr=False)


class VaultApi:
    """The few HTTP calls that set up a Vault on this machine.

    Not hvac: its import takes 0.2 s, and there is no proxy, redirect or environment here to look out for.
    """

    def __init__(self, host: str, port: int, token: str = "") -> None:
        self._host, self._port, self._token = host, port, token

    def with_token(self, token: str) -> "VaultApi":
        """The same Vault, asked with a token."""
        return VaultApi(self._host, self._port, token)

    def health(self) -> int:
        """The status of its health page: 200 active, 501 not initialised, 503 sealed; 0 if it does not answer."""
        try:
            return self._ask("GET", "sys/health", None, HEALTH_S)[0]
        except (OSError, HTTPException):
            return 0

    def exists(self, path: str) -> bool:
        """Whether reading a path succeeds."""
        return self.call("GET", path, expected=(200, 400, 404))[0] == 200

    def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, expected: tuple[int, ...] = (200, 204)
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON of an answer.

        Raises:
            ServiceUnavailableError: no answer, or another status than the ``expected``.
        """
        try:
            status, answer = self._ask(method, path, body, ANSWER_S)
        except (OSError, HTTPException) as error:
            raise self._away(f"{method} {path}: {type(error).__name__}") from None
        if status not in expected:  # the answer to a failed call quotes no secret
            raise self._away(f"{method} {path}: status {status} {answer.get('errors', '')}")
        return status, answer

    def _ask(self, method: str, path: str, body: dict[str, Any] | None, timeout_s: float) -> tuple[int, dict[str, Any]]:
        connection = HTTPConnection(self._host, self._port, timeout=timeout_s)
        try:
            headers = {"X-Vault-Token": self._token} if self._token else {}
            connection.request(method, f"/v1/{path}", json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            content = answer.read()
            return answer.status, json.loads(content) if content else {}
        finally:
            connection.close()

    def _away(self, reason: str) -> ServiceUnavailableError:
        return ServiceUnavailableError("OpenBao", f"{self._host}:{self._port}", reason)


def mount_keys(root: VaultApi) -> None:
    """Makes sure of the KV v2 engine; it may answer 400 for a moment after this."""
    if f"{_MOUNT}/" not in root.call("GET", "sys/mounts")[1]["data"]:
        root.call("POST", f"sys/mounts/{_MOUNT}", {"type": "kv", "options": {"version": "2"}})


def keys_are_served(root: VaultApi) -> bool:
    """Whether the KV v2 engine answers."""
    return root.exists(f"{_MOUNT}/config")


def enable_approle(root: VaultApi) -> None:
    """Makes sure of the AppRole logins, without Vault's lockout.

    By default five refused logins lock a role out for 15 minutes, with whatever secret id: workers whose secret id has
    expired ask again every two seconds, and the new one would be refused as well. Nobody guesses 122 bits meanwhile.
    """
    if "approle/" not in root.call("GET", "sys/auth")[1]["data"]:
        root.call("POST", "sys/auth/approle", {"type": "approle"})
    root.call("POST", "sys/auth/approle/tune", _NO_LOCKOUT)


def grant_rights(root: VaultApi, former_accessor: str | None) -> Credentials:
    """Sets the policies and issues new credentials; those of earlier starts end.

    Args:
        root: with the root token.
        former_accessor: of the operator's token of the start before.
    """
    for name, policy in _POLICIES.items():
        root.call("PUT", f"sys/policies/acl/{name}", {"policy": policy})
    enable_approle(root)
    if former_accessor:
        root.call(
            "POST", "auth/token/revoke-accessor", {"accessor": former_accessor}, expected=(200, 204, 400, 403, 404)
        )
    role = f"auth/approle/role/{WORKER}"
    root.call("DELETE", role)  # its secret ids go with it
    root.call("POST", role, _ROLE)
    operator = {"policies": [OPERATOR], "period": OPERATOR_PERIOD, "renewable": True, "no_parent": True}
    token = root.call("POST", "auth/token/create", operator)[1]["auth"]
    return Credentials(
        operator_token=token["client_token"],
        operator_accessor=token["accessor"],
        role_id=root.call("GET", f"{role}/role-id")[1]["data"]["role_id"],
        secret_id=root.call("POST", f"{role}/secret-id")[1]["data"]["secret_id"],
    )
