"""Keys on a real Vault-compatible server: least rights, rotation, and serving on while it is away."""

import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from config.errors import KeyMissingError, KeyUnavailableError, ServiceUnavailableError, UsageError
from config.keys import EnvironmentKeys, ProviderKey, open_keys
from config.settings import Settings
from config.vault import VaultKeys
from tests.conftest import Stack


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def provider_id() -> str:
    """The Vault is shared by the session: each test has an id of its own."""
    return f"custom-{os.urandom(6).hex()}"


def away(settings: Settings) -> Settings:
    return settings.model_copy(update={"vault_url": "http://127.0.0.1:1"})


def test_an_operator_writes_and_a_worker_reads(stack: Stack, provider_id: str) -> None:
    operator, worker = VaultKeys(stack.settings), VaultKeys(stack.worker_settings)
    with pytest.raises(KeyMissingError, match=f"no key for provider {provider_id}: run `ticketflow providers set-key"):
        worker.get(provider_id)
    assert operator.store(provider_id, "sk-1") == 1
    assert VaultKeys(stack.worker_settings).get(provider_id) == ProviderKey("sk-1", 1)
    with pytest.raises(UsageError, match="operator's rights"):
        worker.store(provider_id, "sk-2")


def test_a_rotated_key_is_seen_when_asked_afresh_or_in_time(stack: Stack, provider_id: str) -> None:
    clock = Clock()
    operator, worker = VaultKeys(stack.settings), VaultKeys(stack.worker_settings, clock)
    operator.store(provider_id, "sk-1")
    worker.get(provider_id)
    operator.store(provider_id, "sk-2")
    assert worker.get(provider_id).version == 1
    assert worker.get(provider_id, fresh=True) == ProviderKey("sk-2", 2)
    operator.store(provider_id, "sk-3")
    clock.now_s += stack.settings.key_ttl_s + 1
    assert worker.held(provider_id) is None
    assert worker.get(provider_id).version == 3


def test_that_there_is_no_key_is_remembered_for_two_seconds(stack: Stack, provider_id: str) -> None:
    clock = Clock()
    worker = VaultKeys(stack.worker_settings, clock)
    with pytest.raises(KeyMissingError):
        worker.get(provider_id)
    VaultKeys(stack.settings).store(provider_id, "sk-1")
    with pytest.raises(KeyMissingError):
        worker.held(provider_id)
    clock.now_s += 2.5
    assert worker.get(provider_id).version == 1


def test_known_keys_serve_on_while_vault_is_away(stack: Stack, provider_id: str) -> None:
    clock = Clock()
    VaultKeys(stack.settings).store(provider_id, "sk-1")
    worker = VaultKeys(stack.worker_settings, clock)
    worker.get(provider_id)
    worker._session._client.adapter.base_uri = "http://127.0.0.1:1"
    clock.now_s += stack.settings.key_ttl_s + 1
    assert worker.get(provider_id).value == "sk-1"
    assert worker.stale_reads == 1
    with pytest.raises(KeyUnavailableError, match="cannot be asked"):
        worker.get("custom-other")
    with pytest.raises(KeyUnavailableError):
        worker.get(provider_id, fresh=True)  # the provider refused the old one: it will not do
    clock.now_s += stack.settings.key_stale_s
    with pytest.raises(KeyUnavailableError):
        worker.get(provider_id)


def test_a_vault_that_hangs_is_asked_by_one_and_then_left_alone(stack: Stack, provider_id: str) -> None:
    """Else each of five hundred jobs would hang in turn."""
    clock = Clock()
    VaultKeys(stack.settings).store(provider_id, "sk-1")
    worker = VaultKeys(stack.worker_settings, clock)
    worker.get(provider_id)
    with socket.create_server(("127.0.0.1", 0)) as hung, ThreadPoolExecutor(1) as pool:
        worker._session._client.adapter.base_uri = f"http://127.0.0.1:{hung.getsockname()[1]}"
        clock.now_s += stack.settings.key_ttl_s + 1
        first = pool.submit(worker.get, provider_id)
        hung.settimeout(10)
        connection, _ = hung.accept()
        with connection:
            held = worker.held(provider_id)
            assert held is not None, "others do not wait for the one that asks"
            assert held.value == "sk-1"
            assert first.result(20).value == "sk-1"
        hung.setblocking(False)
        assert worker.held(provider_id) == held
        assert worker.get(provider_id) == held
        with pytest.raises(KeyUnavailableError):
            worker.get("custom-other")
        with pytest.raises(BlockingIOError):
            hung.accept()


def test_a_key_that_was_set_is_read_anew(stack: Stack, provider_id: str) -> None:
    clock = Clock()
    operator, worker = VaultKeys(stack.settings), VaultKeys(stack.worker_settings, clock)
    operator.store(provider_id, "sk-1")
    assert worker.get(provider_id).version == 1
    operator.store(provider_id, "sk-2")
    clock.now_s += 1
    assert worker.get(provider_id).version == 1
    worker.expire(provider_id)
    assert worker.held(provider_id) is None
    clock.now_s += 1
    assert worker.get(provider_id).version == 2


def test_a_revoked_token_is_replaced_by_logging_in_again(stack: Stack, provider_id: str) -> None:
    VaultKeys(stack.settings).store(provider_id, "sk-1")
    worker = VaultKeys(stack.worker_settings)
    worker.get(provider_id)
    worker._session._client.auth.token.revoke_self()
    assert worker.get(provider_id, fresh=True).value == "sk-1"


def test_wrong_credentials_are_said_and_not_shown(stack: Stack, provider_id: str) -> None:
    values = stack.worker_settings.model_dump() | {"vault_secret_id": "s3cret", "vault_token": None}
    with pytest.raises(KeyUnavailableError, match="role id or secret id") as caught:
        VaultKeys(Settings.model_validate(values)).get(provider_id)
    assert "s3cret" not in str(caught.value)
    values = stack.settings.model_dump() | {"vault_token": "s3cret"}
    with pytest.raises(ServiceUnavailableError, match="token is not accepted") as refused:
        VaultKeys(Settings.model_validate(values)).check()
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("name", ["../../../sys/health", "a/b", "..", "", "a b", "a" * 65])
def test_a_name_cannot_leave_its_folder(stack: Stack, name: str) -> None:
    with pytest.raises(KeyMissingError):
        VaultKeys(stack.worker_settings).get(name)


def test_vault_away_is_said_with_its_address(stack: Stack) -> None:
    with pytest.raises(ServiceUnavailableError, match=r"Vault at 127\.0\.0\.1:1"):
        VaultKeys(away(stack.settings)).check()


def test_nothing_of_the_environment_has_a_part(stack: Stack, provider_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "VAULT_ADDR": "http://127.0.0.1:1",
        "VAULT_TOKEN": "stray",
        "VAULT_NAMESPACE": "stray",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "http_proxy": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)
    assert VaultKeys(stack.settings).store(provider_id, "sk-1") == 1


def test_a_redirect_is_not_followed(stack: Stack, provider_id: str) -> None:
    """hvac's default follows it, token and all, to whatever host it names."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_response(307)
            self.send_header("Location", f"http://localhost:{server.server_port}/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Silent."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        settings = stack.settings.model_copy(update={"vault_url": f"http://127.0.0.1:{server.server_port}"})
        with pytest.raises((KeyMissingError, KeyUnavailableError, ServiceUnavailableError)):
            VaultKeys(settings).get(provider_id)
        assert seen
        assert not any("elsewhere" in path for path in seen)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_keys_are_kept_out_of_representations(stack: Stack, provider_id: str) -> None:
    keys = VaultKeys(stack.settings)
    keys.store(provider_id, "sk-secret")
    assert "sk-secret" not in f"{keys.get(provider_id)!r} {keys!r} {vars(keys)!r}"


def test_without_vault_keys_come_from_the_environment(stack: Stack) -> None:
    keys = open_keys(stack.settings.model_copy(update={"vault_url": None}))
    assert isinstance(keys, EnvironmentKeys)
    given = EnvironmentKeys({"TICKETFLOW_KEY_CUSTOM_A1": "sk-1"})
    assert given.get("custom-a1") == ProviderKey("sk-1", 0)
    with pytest.raises(KeyMissingError, match="TICKETFLOW_KEY_GROQ"):
        given.get("groq")
    with pytest.raises(UsageError, match="TICKETFLOW_VAULT_URL"):
        given.store("groq", "sk-1")
