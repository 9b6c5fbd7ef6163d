"""Makes the Vault of ``docker-compose.yml`` usable: initialised, with rights, and credentials that still work kept.

Run again, it changes nothing that is in use: workers that are running keep their credentials.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from dotenv import dotenv_values

from config.errors import ServiceUnavailableError, UsageError
from config.settings import PREFIX
from embedded.local_server import write_private
from embedded.vault_rights import (
    OPERATOR,
    OPERATOR_PERIOD,
    WORKER,
    VaultApi,
    enable_approle,
    keys_are_served,
    mount_keys,
)

WAIT_S, POLL_S = 60.0, 0.2
ACTIVE, NOT_INITIALISED = 200, 501
SETTINGS = "settings.env"
TOKEN, ROLE_ID, SECRET_ID = (f"{PREFIX}VAULT_{name}" for name in ("TOKEN", "ROLE_ID", "SECRET_ID"))
_POLICIES = {WORKER: "worker.hcl", OPERATOR: "operator.hcl"}
_ROLE = {"token_policies": [WORKER], "token_ttl": "1h", "token_max_ttl": "24h"}
_REFUSED = (400, 403)


def set_up(vault: VaultApi, folder: Path) -> None:
    """Initialises the Vault if it is new, sets the rights, and issues what credentials are missing or refused.

    Args:
        vault: without a token.
        folder: has the folders ``root``, ``worker`` and ``operator``, each for one reader.

    Raises:
        ServiceUnavailableError: it does not answer, or refuses.
        UsageError: its root token is not in ``folder``.
    """
    _wait(lambda: vault.health() in (ACTIVE, NOT_INITIALISED), "an answer")
    token_file = folder / "root" / "token"
    if vault.health() == NOT_INITIALISED:
        answer = vault.call("PUT", "sys/init", {"recovery_shares": 1, "recovery_threshold": 1})[1]
        write_private(token_file, answer["root_token"].encode())
    if not token_file.exists():
        raise UsageError("this Vault was initialised by somebody else: its root token is not here")
    _wait(lambda: vault.health() == ACTIVE, "an unsealed Vault")
    root = vault.with_token(token_file.read_text())
    mount_keys(root)
    _wait(lambda: keys_are_served(root), "the keys' engine")
    _set_rights(root)
    _keep_or_issue(folder / "worker" / SETTINGS, lambda held: _may_log_in(vault, held), lambda: _worker(root))
    _keep_or_issue(folder / "operator" / SETTINGS, lambda held: _is_accepted(vault, held), lambda: _operator(root))


def _set_rights(root: VaultApi) -> None:
    for name, file in _POLICIES.items():
        policy = (Path(__file__).parent / "vault" / file).read_text(encoding="utf-8")
        root.call("PUT", f"sys/policies/acl/{name}", {"policy": policy})
    enable_approle(root)
    root.call("POST", f"auth/approle/role/{WORKER}", _ROLE)


def _keep_or_issue(file: Path, works: Callable[[dict[str, str]], bool], issue: Callable[[], dict[str, str]]) -> None:
    held = {name: value for name, value in dotenv_values(file).items() if value}
    if not works(held):
        write_private(file, "".join(f"{name}={value}\n" for name, value in issue().items()).encode())
        print(f"{file.parent.name}: new credentials", flush=True)


def _may_log_in(vault: VaultApi, held: dict[str, str]) -> bool:
    if not {ROLE_ID, SECRET_ID} <= held.keys():
        return False
    login = {"role_id": held[ROLE_ID], "secret_id": held[SECRET_ID]}
    return vault.call("POST", "auth/approle/login", login, expected=(200, *_REFUSED))[0] == 200


def _is_accepted(vault: VaultApi, held: dict[str, str]) -> bool:
    """Also prolongs the token, which lives a month from its last use."""
    if TOKEN not in held:
        return False
    return vault.with_token(held[TOKEN]).call("POST", "auth/token/renew-self", {}, expected=(200, *_REFUSED))[0] == 200


def _worker(root: VaultApi) -> dict[str, str]:
    role = f"auth/approle/role/{WORKER}"
    return {
        ROLE_ID: root.call("GET", f"{role}/role-id")[1]["data"]["role_id"],
        SECRET_ID: root.call("POST", f"{role}/secret-id")[1]["data"]["secret_id"],
    }


def _operator(root: VaultApi) -> dict[str, str]:
    wanted = {"policies": [OPERATOR], "period": OPERATOR_PERIOD, "renewable": True, "no_parent": True}
    return {TOKEN: root.call("POST", "auth/token/create", wanted)[1]["auth"]["client_token"]}


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise ServiceUnavailableError("Vault", what, f"not there after {WAIT_S:g} s")
        time.sleep(POLL_S)


def main() -> None:
    """``python -m deploy.vault_init HOST PORT FOLDER``."""
    host, port, folder = sys.argv[1:]
    try:
        set_up(VaultApi(host, int(port)), Path(folder))
    except (ServiceUnavailableError, UsageError) as error:
        sys.exit(f"error: {error}")
    print("Vault is ready", flush=True)


if __name__ == "__main__":
    main()
