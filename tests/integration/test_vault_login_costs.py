"""What a login that is refused, or not needed, costs: nothing while the token lives, and one line in the log."""

import os

import pytest

from config.errors import KeyMissingError, KeyUnavailableError
from config.settings import Settings
from config.vault import VaultKeys
from embedded.servers import EmbeddedServers
from embedded.vault_rights import WORKER, VaultApi
from tests.conftest import Stack
from tests.integration.test_vault_keys import Clock
from tests.integration.test_vault_login import bare, provider_id, revoke_tokens, root

__all__ = ["provider_id", "root"]


class Role:
    """An AppRole of a test's own."""

    def __init__(self, root: VaultApi, policies: str = WORKER) -> None:
        self._root, self._path = root, f"auth/approle/role/{WORKER}-{os.urandom(4).hex()}"
        root.call("POST", self._path, {"token_policies": policies, "token_ttl": "1h"})

    def settings(self, stack: Stack, uses: int = 0) -> Settings:
        """A worker's, with a secret id that is good for so many logins; 0 for any number."""
        role_id = self._root.call("GET", f"{self._path}/role-id")[1]["data"]["role_id"]
        secret_id = self._root.call("POST", f"{self._path}/secret-id", {"num_uses": uses})[1]["data"]["secret_id"]
        return bare(stack, vault_role_id=role_id, vault_secret_id=secret_id)

    def shorten_tokens(self) -> None:
        """From now on a renewal tells that the token's end is near."""
        self._root.call("POST", self._path, {"token_ttl": "10m", "token_max_ttl": "10m"})


def test_a_key_that_the_policy_withholds_uses_up_no_login(stack: Stack, root: VaultApi, provider_id: str) -> None:
    clock = Clock()
    keys = VaultKeys(Role(root, "default").settings(stack, uses=1), clock)
    for _ in range(3):
        clock.now_s += 5
        with pytest.raises(KeyMissingError, match="does not let this process read"):
            keys.get(provider_id)


def test_a_login_that_fails_costs_nothing_while_the_token_lives(
    stack: Stack, root: VaultApi, provider_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock, role = Clock(), Role(root)
    keys = VaultKeys(role.settings(stack, uses=1), clock)
    keys.get(provider_id)
    role.shorten_tokens()
    clock.now_s += 3600
    assert keys.get(provider_id, fresh=True).value == "sk-1"
    assert "no new login to Vault" in caplog.text


def test_why_jobs_wait_is_said_once(
    stack: Stack, servers: EmbeddedServers, root: VaultApi, provider_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    settings = Role(root).settings(stack, uses=1)
    keys = VaultKeys(settings, clock)
    keys.get(provider_id)
    revoke_tokens(keys)
    for _ in range(3):
        clock.now_s += 5
        with pytest.raises(KeyUnavailableError):
            keys.get("custom-unknown")
    (said,) = caplog.messages
    assert "jobs that need another key wait: Vault at" in said
