"""The servers in a box: what they allow, what they keep, and that nothing of them is ever left behind."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import hvac
import psycopg
import pytest
import redis
from hvac import exceptions as hx
from redis.backoff import NoBackoff
from redis.retry import Retry

from config.errors import ConflictError, KeyMissingError, StartFailedError, UsageError
from config.settings import PREFIX, Settings
from config.vault import VaultKeys
from embedded import local_server
from embedded.children import ChildProcesses
from embedded.local_server import LocalServer
from embedded.openbao_server import OpenBaoServer
from embedded.postgres_server import PostgresServer
from embedded.process import Command, Identity
from embedded.servers import EmbeddedServers
from embedded.unprivileged import ordinary_identity
from embedded.valkey_server import ValkeyServer
from tests.support.processes import needs_proc, processes_in
from tests.support.waiting import wait_for

ROOT = Path(__file__).parents[2]
HOLD = """
import signal, sys
from pathlib import Path
from embedded.servers import EmbeddedServers

signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests that run in the background inherit that it is ignored
with EmbeddedServers(Path(sys.argv[1]), persistent=False) as servers:
    print("up", flush=True)
    sys.stdin.read()
"""


def _keys(environment: dict[str, str]) -> VaultKeys:
    return VaultKeys(Settings.model_validate({k.removeprefix(PREFIX).lower(): v for k, v in environment.items()}))


def _vault(servers: EmbeddedServers) -> hvac.Client:
    return hvac.Client(url=servers.vault_url, token=servers.operator_environment["TICKETFLOW_VAULT_TOKEN"])


def _holder(folder: Path) -> "subprocess.Popen[str]":
    """Another process that starts servers and holds them until it is told to end."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_operators_manage_keys_and_workers_read_them(servers: EmbeddedServers) -> None:
    operator, worker = _keys(servers.operator_environment), _keys(servers.worker_environment)
    operator.store("rights", "key-1")
    assert operator.store("rights", "key-2") == 2
    assert worker.get("rights").value == "key-2"
    with pytest.raises(UsageError, match="operator's rights"):
        worker.store("rights", "key-3")
    keys = _vault(servers).secrets.kv.v2
    assert "rights" in keys.list_secrets("providers", mount_point="ticketflow")["data"]["keys"]
    keys.delete_metadata_and_all_versions("providers/rights", mount_point="ticketflow")
    with pytest.raises(KeyMissingError):
        operator.get("rights", fresh=True)


def test_an_operator_is_not_root_and_may_renew(servers: EmbeddedServers) -> None:
    vault = _vault(servers)
    token = vault.auth.token.lookup_self()["data"]
    assert set(token["policies"]) == {"default", "ticketflow-operator"}
    assert token["renewable"]
    assert token["period"] > 0
    with pytest.raises(hx.Forbidden):
        vault.read("sys/auth")
    with pytest.raises(hx.Forbidden):
        vault.secrets.kv.v2.create_or_update_secret("elsewhere/a", {"a": "b"}, mount_point="ticketflow")


def test_nobody_enters_without_a_password(servers: EmbeddedServers) -> None:
    port = int(servers.redis_url.rsplit(":", 1)[1].split("/")[0])
    with redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    address = servers.database_url.split("@")[1]
    for user in ("ticketflow:wrong", "postgres", "postgres:postgres"):
        with pytest.raises(psycopg.OperationalError, match=r"password|no pg_hba"):
            psycopg.connect(f"postgresql://{user}@{address}")


def test_the_role_of_the_database_is_an_ordinary_one(servers: EmbeddedServers) -> None:
    with psycopg.connect(servers.database_url) as connection:
        row = connection.execute(
            "SELECT rolsuper, rolcreaterole, pg_get_userbyid(datdba), current_setting('max_connections')"
            " FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()"
        ).fetchone()
    assert row == (False, False, "ticketflow", "200")


@needs_proc
def test_no_secret_is_in_a_command_line_or_a_repr(servers: EmbeddedServers) -> None:
    lines = "".join(processes_in(servers.folder).values())
    assert "valkey-server" in lines
    assert "postgres" in lines
    assert "bao server" in lines
    shown = lines + repr(servers) + repr(servers.members) + "".join(repr(vars(member)) for member in servers.members)
    for secret in _secrets(servers):
        assert secret not in lines + repr(servers) + repr(servers.members)
    assert "Credentials()" in shown


def _secrets(servers: EmbeddedServers) -> list[str]:
    values = servers.operator_environment | servers.worker_environment
    return [
        servers.redis_url.split(":")[2].split("@")[0],
        servers.database_url.split(":")[2].split("@")[0],
        values["TICKETFLOW_VAULT_TOKEN"],
        values["TICKETFLOW_VAULT_SECRET_ID"],
        (servers.folder / "openbao" / "root.token").read_text(),
    ]


def test_a_persistent_folder_keeps_everything_but_old_credentials(tmp_path: Path) -> None:
    servers = EmbeddedServers(tmp_path / "a folder 100% ours", persistent=True)
    with servers:
        _keys(servers.operator_environment).store("groq", "kept")
        with psycopg.connect(servers.database_url) as connection:
            connection.execute("CREATE TABLE t AS SELECT 42 AS answer")
        with redis.Redis.from_url(servers.redis_url) as client:
            client.set("k", "v")
        former = servers.operator_environment["TICKETFLOW_VAULT_TOKEN"]
        former_worker = servers.worker_environment
        for secret in ("valkey/valkey.conf", "postgres/password", "openbao/root.token", "openbao/unseal.key"):
            assert (servers.folder / secret).stat().st_mode & 0o777 == 0o600
    with servers:
        assert _keys(servers.worker_environment).get("groq").value == "kept"
        with psycopg.connect(servers.database_url) as connection:
            assert connection.execute("SELECT answer, current_setting('fsync') FROM t").fetchone() == (42, "on")
        with redis.Redis.from_url(servers.redis_url) as client:
            assert client.get("k") == b"v"
        vault = hvac.Client(url=servers.vault_url, token=former)
        with pytest.raises(hx.Forbidden):
            vault.auth.token.lookup_self()
        with pytest.raises(hx.InvalidRequest):
            vault.auth.approle.login(
                former_worker["TICKETFLOW_VAULT_ROLE_ID"], former_worker["TICKETFLOW_VAULT_SECRET_ID"]
            )
    with pytest.raises(ConflictError, match="folder of their own"):  # they would be removed at the end
        EmbeddedServers(servers.folder, persistent=False).start()
    assert (servers.folder / "openbao" / "root.token").exists()


@needs_proc
def test_temporary_servers_leave_nothing_but_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "servers"
    folder.mkdir()
    (folder / "mine").touch()
    servers = EmbeddedServers(folder, persistent=False)
    servers.start()
    assert len(processes_in(folder)) >= 3
    servers.stop()
    assert processes_in(folder) == {}
    assert [path.name for path in folder.iterdir()] == ["mine"]
    servers.stop()


@needs_proc
def test_one_that_fails_stops_the_others_and_says_why(tmp_path: Path) -> None:
    folder = tmp_path / "servers"
    (folder / "postgres" / "data").mkdir(parents=True)
    (folder / "postgres" / "password").write_text("x")
    with pytest.raises(StartFailedError, match=r"Postgres did not start: it ended with status \d+.*\n.*(?s:.)*data"):
        EmbeddedServers(folder, persistent=True).start()
    assert processes_in(folder) == {}


@pytest.mark.parametrize("kind", [ValkeyServer, PostgresServer, OpenBaoServer])
def test_a_port_that_is_taken_meanwhile_is_given_up(
    kind: type[LocalServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, looks = local_server.free_ports, []

    def free_ports(count: int) -> tuple[int, ...]:
        looks.append(count)
        return (taken, *look(count - 1)) if len(looks) == 1 else look(count)

    monkeypatch.setattr(local_server, "free_ports", free_ports)
    children = ChildProcesses()
    server = kind(tmp_path, False, children)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        taken = holder.getsockname()[1]
        try:
            server.start()
            assert len(looks) == 2
            assert taken not in server.ports
        finally:
            server.wait_stopped(time.monotonic() + 10)
            children.close()


def test_a_server_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    children = ChildProcesses()
    server = ValkeyServer(tmp_path, False, children)
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    try:
        with redis.Redis.from_url(server.url) as client:
            assert client.ping()
        assert server.process is not None
        assert server.process.status() is None
    finally:
        children.close()


@needs_proc
@pytest.mark.parametrize(
    ("sent", "status"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 7)], ids=["SIGINT", "SIGTERM"]
)
@pytest.mark.parametrize("moment", ["logs/valkey.log", "postgres/draft", "openbao/data/raft"])
def test_an_interrupted_start_leaves_nothing(tmp_path: Path, moment: str, sent: signal.Signals, status: int) -> None:
    folder = tmp_path / "servers"
    with _holder(folder) as owner:
        try:
            wait_for((folder / moment).exists, moment)
            owner.send_signal(sent)
            assert owner.wait(20) == status
        finally:
            owner.kill()
    assert processes_in(folder) == {}
    assert not folder.exists()


@needs_proc
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else; all other tests are this one, then")
def test_an_ordinary_user_can_run_them_as_well(tmp_path: Path) -> None:
    somebody = ordinary_identity(tmp_path / "servers", [])
    assert somebody is not None
    (tmp_path / "servers").mkdir()
    os.chown(tmp_path / "servers", somebody.uid, somebody.gid)
    children = ChildProcesses()
    code = HOLD.replace(
        "sys.stdin.read()", "import os; print(os.getuid()); import psycopg; psycopg.connect(servers.database_url)"
    )
    process = children.spawn(
        Command(
            (sys.executable, "-B", "-W", "ignore", "-c", code, str(tmp_path / "servers")),
            dict(os.environ),
            ROOT,
            tmp_path / "log",
            identity=Identity(somebody.uid, somebody.gid, any_path=True),
        )
    )
    try:
        wait_for(lambda: process.status() is not None, "end of the program")
        assert (process.status(), process.output().split()) == (0, ["up", str(somebody.uid)]), process.output()
    finally:
        children.close()
