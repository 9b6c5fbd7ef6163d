"""Every way to log in to a real Vault-compatible server, and what happens when the credentials end."""

import json
import os
import signal
import subprocess
import sys
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from config.errors import KeyUnavailableError, ServiceUnavailableError, SettingsError
from config.keys import open_keys
from config.settings import PREFIX, Settings
from config.vault import VaultKeys, unwrap_credentials
from embedded.local_server import HOST, LocalServer
from embedded.servers import EmbeddedServers
from embedded.vault_rights import WORKER, VaultApi
from producer.producer import Producer
from tests.conftest import Stack
from tests.integration.test_vault_keys import Clock
from tests.support.llm_server import LLMServer
from tests.support.providers import add_local
from tests.support.waiting import wait_for
from tests.support.workers import ROOT, WorkerProcess, clean_environment

ROLE = f"auth/approle/role/{WORKER}"


def root_of(servers: EmbeddedServers) -> VaultApi:
    (bao,) = (member for member in servers.members if member.name == "OpenBao")
    return VaultApi(HOST, bao.ports[0]).with_token((bao.folder / "root.token").read_text())


@pytest.fixture
def root(servers: EmbeddedServers) -> VaultApi:
    return root_of(servers)


@pytest.fixture
def provider_id(stack: Stack) -> str:
    provider_id = f"custom-{os.urandom(6).hex()}"
    VaultKeys(stack.settings).store(provider_id, "sk-1")
    return provider_id


def bare(stack: Stack, **given: Any) -> Settings:
    """A worker's settings with other credentials."""
    values = {key: value for key, value in stack.worker_settings.model_dump().items() if "secret_id" not in key}
    return Settings.model_validate(values | given)


def secret_id(root: VaultApi) -> str:
    return str(root.call("POST", f"{ROLE}/secret-id")[1]["data"]["secret_id"])


def wrapped(root: VaultApi, path: str = f"{ROLE}/secret-id", method: str = "POST") -> str:
    """A wrapping token, as an operator hands it out."""
    from http.client import HTTPConnection

    connection = HTTPConnection(root._host, root._port, timeout=10)
    connection.request(method, f"/v1/{path}", "{}", {"X-Vault-Token": root._token, "X-Vault-Wrap-TTL": "300"})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return str(answer["wrap_info"]["token"])


def revoke_tokens(keys: VaultKeys) -> None:
    keys._session._client.auth.token.revoke_self()


def test_a_secret_id_in_a_file_may_be_replaced(stack: Stack, root: VaultApi, provider_id: str, tmp_path: Path) -> None:
    file, clock = tmp_path / "secret-id", Clock()
    first = secret_id(root)
    file.write_text(f"{first}\n")
    keys = VaultKeys(bare(stack, vault_secret_id_file=file), clock)
    assert keys.get(provider_id).value == "sk-1"
    root.call("POST", f"{ROLE}/secret-id/destroy", {"secret_id": first})
    revoke_tokens(keys)
    clock.now_s += stack.settings.key_ttl_s + 1
    assert keys.get(provider_id).value == "sk-1", "a known key serves on"
    clock.now_s += 3
    with pytest.raises(KeyUnavailableError, match="it may have expired: hand out a new one") as caught:
        keys.get("custom-unknown")
    assert first not in str(caught.value)
    file.write_text(secret_id(root))
    clock.now_s += 3
    assert keys.get(provider_id, fresh=True).value == "sk-1"


def test_refused_logins_do_not_lock_the_role_out(
    stack: Stack, root: VaultApi, provider_id: str, tmp_path: Path
) -> None:
    """Workers show a secret id that has expired every two seconds; by default Vault would then refuse the new one."""
    file, clock = tmp_path / "secret-id", Clock()
    file.write_text("expired")
    keys = VaultKeys(bare(stack, vault_secret_id_file=file), clock)
    for _ in range(10):
        clock.now_s += 3
        with pytest.raises(KeyUnavailableError, match="hand out a new one"):
            keys.get(provider_id)
    file.write_text(secret_id(root))
    clock.now_s += 3
    assert keys.get(provider_id).value == "sk-1"


def test_a_vault_that_locks_a_role_out_is_named(stack: Stack, root: VaultApi, provider_id: str, tmp_path: Path) -> None:
    """Somebody else's Vault, as it is by default."""
    file, clock = tmp_path / "secret-id", Clock()
    root.call("POST", "sys/auth/locking", {"type": "approle"})
    root.call("POST", "auth/locking/role/worker", {"token_policies": [WORKER]})
    role_id = root.call("GET", "auth/locking/role/worker/role-id")[1]["data"]["role_id"]
    given = {"vault_auth_mount": "locking", "vault_role_id": role_id}
    keys = VaultKeys(bare(stack, vault_secret_id_file=file, **given), clock)
    file.write_text("expired")
    for _ in range(6):
        clock.now_s += 3
        with pytest.raises(KeyUnavailableError, match="refuses the role id or secret id"):
            keys.get(provider_id)
    file.write_text(root.call("POST", "auth/locking/role/worker/secret-id")[1]["data"]["secret_id"])
    clock.now_s += 3
    with pytest.raises(KeyUnavailableError, match="it locks the role out for a while"):
        keys.get(provider_id)
    root.call("DELETE", "sys/auth/locking")


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file"), (b"", "is empty"), (b" \n", "is empty"), (b"\xff\x00", "something else")],
)
def test_a_file_that_is_of_no_use(
    stack: Stack, provider_id: str, tmp_path: Path, content: bytes | None, words: str
) -> None:
    file = tmp_path / "secret-id"
    if content is not None:
        file.write_bytes(content)
    keys = VaultKeys(bare(stack, vault_secret_id_file=file))
    with pytest.raises(KeyUnavailableError, match=f"TICKETFLOW_VAULT_SECRET_ID_FILE.*{words}"):
        keys.get(provider_id)
    with pytest.raises(ServiceUnavailableError, match=words):
        keys.check()


def test_a_wrapped_secret_id_is_had_once(stack: Stack, root: VaultApi, provider_id: str) -> None:
    settings = bare(stack, vault_secret_id_wrapped=wrapped(root))
    assert VaultKeys(unwrap_credentials(settings)).get(provider_id).value == "sk-1"
    with pytest.raises(SettingsError, match="was used already: if no worker of yours used it, somebody else") as caught:
        unwrap_credentials(settings)
    secret = settings.vault_secret_id_wrapped
    assert secret is not None
    assert secret.get_secret_value() not in f"{caught.value}{settings!r}"
    with pytest.raises(KeyUnavailableError, match="a wrapped secret id serves workers"):
        VaultKeys(settings).get(provider_id)
    with pytest.raises(ServiceUnavailableError):
        unwrap_credentials(settings.model_copy(update={"vault_url": "http://127.0.0.1:1"}))


def test_a_wrapping_token_may_come_in_a_file(stack: Stack, root: VaultApi, provider_id: str, tmp_path: Path) -> None:
    file = tmp_path / "wrapped"
    settings = bare(stack, vault_secret_id_wrapped_file=file)
    with pytest.raises(SettingsError, match=r"TICKETFLOW_VAULT_SECRET_ID_WRAPPED_FILE: .* cannot be read"):
        unwrap_credentials(settings)
    file.write_text(f"{wrapped(root)}\n")
    assert VaultKeys(unwrap_credentials(settings)).get(provider_id).value == "sk-1"
    with pytest.raises(SettingsError, match="was used already"):
        unwrap_credentials(settings)


def test_a_wrapping_token_that_holds_something_else_is_not_used(stack: Stack, root: VaultApi) -> None:
    """Whoever can have us unwrap what they like could have us log in as somebody else."""
    token = wrapped(root, "sys/wrapping/wrap")
    with pytest.raises(SettingsError, match="something else than a secret id"):
        unwrap_credentials(bare(stack, vault_secret_id_wrapped=token))
    status, _ = root.call("POST", "sys/wrapping/lookup", {"token": token})
    assert status == 200, "it was looked at, not used"


@pytest.mark.parametrize("pool", ["threads", "processes"])
def test_a_worker_starts_with_a_wrapped_secret_id(
    stack: Stack, root: VaultApi, provider_id: str, tmp_path: Path, pool: str
) -> None:
    environment = {k: v for k, v in stack.worker_environment.items() if not k.endswith("SECRET_ID")}
    environment |= {"TICKETFLOW_VAULT_SECRET_ID_WRAPPED": wrapped(root), "TICKETFLOW_KEY_TTL_S": "0.1"}
    with LLMServer() as llm, Producer(stack.settings) as producer:
        add_local(producer, llm, provider_id)
        with WorkerProcess(environment, tmp_path / "worker.log", pool):
            jobs = [producer.enqueue("complete", {"prompt": f"{n}"}, provider=provider_id) for n in range(20)]
            assert {(job.wait(30).state, job.status().key_version) for job in jobs} == {("succeeded", 1)}
        again = subprocess.run(
            [sys.executable, "-m", "celery", "-A", "worker.app", "worker", "-P", pool, "-c", "2"],
            env=clean_environment(environment),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (again.returncode, "was used already" in again.stderr + again.stdout) == (1, True)


@pytest.fixture
def kubernetes(root: VaultApi) -> Iterator[Callable[[str], str]]:
    """Vault's Kubernetes auth, with a server that reviews tokens as an API server does; makes such tokens."""
    valid: set[str] = set()

    class Reviews(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            token = review["spec"]["token"]
            name = json.loads(_part(token, 1))["sub"]
            user = {"username": name, "uid": "u1", "groups": ["system:serviceaccounts"]}
            status = {"authenticated": True, "user": user} if token in valid else {"error": "expired"}
            body = json.dumps(
                {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status}
            ).encode()
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Silent."""

    def account(name: str) -> str:
        kube = {"namespace": "helpdesk", "serviceaccount": {"name": name, "uid": "u1"}}
        claims = {"sub": f"system:serviceaccount:helpdesk:{name}", "kubernetes.io": kube, "jti": os.urandom(4).hex()}
        token = ".".join(
            map(_encoded, ({"alg": "RS256", "typ": "JWT"}, claims | {"iat": 1, "nbf": 1, "exp": 4102444800}, "s" * 40))
        )
        valid.add(token)
        return token

    account.valid = valid  # type: ignore[attr-defined]
    server = HTTPServer(("127.0.0.1", 0), Reviews)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    root.call("POST", "sys/auth/kubernetes", {"type": "kubernetes"})
    root.call(
        "POST",
        "auth/kubernetes/config",
        {
            "kubernetes_host": f"http://127.0.0.1:{server.server_port}",
            "kubernetes_ca_cert": "-----BEGIN CERTIFICATE-----\nunused over http\n-----END CERTIFICATE-----",
            "token_reviewer_jwt": account("reviewer"),
            "disable_local_ca_jwt": True,
        },
    )
    bound = {"bound_service_account_names": ["worker"], "bound_service_account_namespaces": ["helpdesk"]}
    root.call("POST", "auth/kubernetes/role/worker", {**bound, "token_policies": [WORKER], "token_ttl": "1h"})
    yield account
    root.call("DELETE", "sys/auth/kubernetes")
    server.shutdown()
    thread.join()
    server.server_close()


def _encoded(value: Any) -> str:
    return (
        urlsafe_b64encode(value.encode() if isinstance(value, str) else json.dumps(value).encode())
        .rstrip(b"=")
        .decode()
    )


def _part(token: str, number: int) -> bytes:
    from base64 import urlsafe_b64decode

    part = token.split(".")[number]
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_a_service_account_logs_in(
    stack: Stack, kubernetes: Callable[[str], str], provider_id: str, tmp_path: Path
) -> None:
    file, clock = tmp_path / "token", Clock()
    file.write_text(kubernetes("worker"))
    given = {"vault_role_id": None, "vault_k8s_role": "worker", "vault_k8s_token_file": file}
    keys = VaultKeys(bare(stack, **given), clock)
    assert keys.get(provider_id).value == "sk-1"
    kubernetes.valid.clear()  # type: ignore[attr-defined]
    revoke_tokens(keys)
    clock.now_s += stack.settings.key_ttl_s + 1
    assert keys.get(provider_id).value == "sk-1", "a known key serves on"
    clock.now_s += 3
    with pytest.raises(KeyUnavailableError, match="refuses the service account's token for the role worker"):
        keys.get("custom-unknown")
    file.write_text(kubernetes("worker"))  # as the kubelet does
    clock.now_s += 3
    assert keys.get(provider_id, fresh=True).value == "sk-1"
    file.write_text(kubernetes("somebody"))
    with pytest.raises(KeyUnavailableError, match="refuses the service account's token"):
        VaultKeys(bare(stack, **given)).get(provider_id)


def test_a_revoked_token_makes_jobs_wait(stack: Stack, root: VaultApi, provider_id: str) -> None:
    """It is no word on the key: a job that failed for it would have failed for nothing."""
    given = root.call("POST", "auth/token/create", {"policies": [WORKER], "ttl": "1h"})[1]["auth"]
    clock = Clock()
    keys = VaultKeys(bare(stack, vault_role_id=None, vault_token=given["client_token"]), clock)
    assert keys.get(provider_id).value == "sk-1"
    root.call("POST", "auth/token/revoke-accessor", {"accessor": given["accessor"]})
    with pytest.raises(KeyUnavailableError, match="the token is not accepted"):
        keys.get("custom-unknown")
    clock.now_s += stack.settings.key_ttl_s + 1
    assert keys.get(provider_id).value == "sk-1"


def _restart_sealed(bao: LocalServer) -> None:
    """With an unseal key that does not fit: after a mere ``sys/seal`` it would unseal itself again."""
    process = bao.process
    assert process is not None
    process.send(signal.SIGKILL)
    wait_for(lambda: process.status() is not None, "end of OpenBao")
    (bao.folder / "unseal.key").write_bytes(os.urandom(32))
    bao.respawn()
    wait_for(lambda: VaultApi(HOST, bao.ports[0]).health() == 503, "a sealed OpenBao")


@pytest.mark.parametrize("trouble", ["sealed", "frozen"])
def test_known_keys_serve_on_while_vault_is_of_no_use(tmp_path: Path, trouble: str) -> None:
    with EmbeddedServers(tmp_path / "own", persistent=False) as servers:
        given = {k.removeprefix(PREFIX).lower(): v for k, v in servers.operator_environment.items()}
        worker = {k.removeprefix(PREFIX).lower(): v for k, v in servers.worker_environment.items()}
        open_keys(Settings.model_validate(given)).store("custom-a", "sk-1")
        clock = Clock()
        keys = VaultKeys(Settings.model_validate(worker), clock)
        keys.get("custom-a")
        (bao,) = (member for member in servers.members if member.name == "OpenBao")
        assert bao.process is not None
        if trouble == "sealed":
            _restart_sealed(bao)
        else:
            bao.process.send(signal.SIGSTOP)
            wait_for(lambda: VaultApi(HOST, bao.ports[0]).health() == 0, "a frozen OpenBao")
        try:
            clock.now_s += 61
            assert keys.get("custom-a").value == "sk-1"
            with pytest.raises(KeyUnavailableError):
                keys.get("custom-unknown")
            clock.now_s += 3500
            assert keys.get("custom-a").value == "sk-1", "for an hour"
            clock.now_s += 100
            with pytest.raises(KeyUnavailableError):
                keys.get("custom-a")
        finally:
            if trouble == "frozen":
                bao.process.send(signal.SIGCONT)
        if trouble == "frozen":
            clock.now_s += 3
            assert keys.get("custom-a").version == 1
