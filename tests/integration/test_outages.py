"""Each service killed and started again in the middle of a batch: every job ends once, with its result."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.keys import open_keys
from config.settings import PREFIX, Settings
from embedded.local_server import HOST, LocalServer
from embedded.servers import EmbeddedServers
from jobs.kind import NewJob
from jobs.kinds import KINDS
from jobs.migrate import migrate
from producer.producer import Producer
from tests.support.llm_server import LLMServer
from tests.support.providers import add_local
from tests.support.waiting import wait_for
from tests.support.workers import WorkerProcess

JOBS = 300


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    """Servers of these tests' own: they do not survive a test unharmed."""
    with EmbeddedServers(tmp_path_factory.mktemp("outages"), persistent=False) as running:
        migrate(running.database_url)
        yield running


def killed_and_restarted(server: LocalServer) -> None:
    """What a crash and a supervisor do; Postgres may refuse its first new start while old backends still end."""

    def runs() -> bool:
        if server.process is None or server.process.status() is not None:
            server.respawn()
            return False
        try:
            socket.create_connection((HOST, server.ports[0]), timeout=1).close()
        except OSError:
            return False
        return True

    process = server.process
    assert process is not None
    process.send(signal.SIGKILL)
    wait_for(lambda: process.status() is not None, f"end of {server.name}")
    wait_for(runs, f"new start of {server.name}")


def jobs() -> list[NewJob]:
    return [KINDS["complete"].accept({"prompt": f"prompt {n}"}, f"c{n}") for n in range(JOBS)]


@pytest.mark.parametrize("name", ["Valkey", "Postgres", "OpenBao"])
def test_a_service_dies_in_mid_batch(servers: EmbeddedServers, tmp_path: Path, name: str) -> None:
    own = {"TICKETFLOW_CALLS_IN_FLIGHT": "10", "TICKETFLOW_SLICE_JOBS": "25", "TICKETFLOW_KEY_TTL_S": "0.5"}
    environment = servers.worker_environment | own
    given = {key.removeprefix(PREFIX).lower(): value for key, value in servers.operator_environment.items()}
    provider_id = f"custom-{name.lower()}"
    with LLMServer() as llm, Producer(Settings.model_validate(given)) as producer:
        add_local(producer, llm, provider_id)
        open_keys(producer.settings).store(provider_id, "sk-1")
        llm.scenario([{"type": "delay", "seconds": 0.1, "times": None}])
        with WorkerProcess(environment, tmp_path / "worker.log") as worker:
            batch = producer.submit_batch("complete", jobs(), provider=provider_id)
            wait_for(lambda: batch.status().succeeded > JOBS / 10, "progress")
            (member,) = (member for member in servers.members if member.name == name)
            killed_and_restarted(member)
            done = wait_for(lambda: _done(producer, batch.batch_id), f"end of the batch: {worker.log.read_text()}", 60)
            assert done == JOBS
            assert worker.process.poll() is None, "the worker lived through it"
        ended = list(batch.jobs())
    assert all(job.state == "succeeded" and job.result for job in ended)
    assert [job.custom_id for job in ended] == [f"c{n}" for n in range(JOBS)]
    calls = sum(job.attempts for job in ended)
    assert calls <= JOBS + 10, "at most what was in flight is paid twice"


def _done(producer: Producer, batch_id: str) -> int | None:
    """Jobs that succeeded once the batch is done; whoever asks lives through the outage too."""
    from config.errors import ServiceUnavailableError

    try:
        batch = producer.ledger.batch(batch_id)
    except ServiceUnavailableError:
        return None
    return batch.succeeded if batch.done else None
