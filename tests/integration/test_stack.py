"""A stack: one a folder, kept running whatever dies, and gone when it is told to."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import redis

from config.errors import ConflictError, KeyMissingError, StartFailedError
from config.settings import PREFIX, Settings
from config.vault import VaultKeys
from embedded.programs import Program
from embedded.servers import EmbeddedServers
from embedded.stack import Stack
from tests.support.processes import is_running, needs_proc, processes_in
from tests.support.waiting import wait_for

ROOT = Path(__file__).parents[2]
WORKER = """
import os, signal, sys, threading
from pathlib import Path

folder, name = Path(sys.argv[1]), sys.argv[2]
done = threading.Event()
if name != "stubborn":
    signal.signal(signal.SIGTERM, lambda *_: done.set())
else:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
(folder / f"{name}.pid").write_text(str(os.getpid()))
done.wait(100)
(folder / f"{name}.ended").touch()
"""
HOLD = """
import sys, threading
from pathlib import Path
from embedded.stack import Stack
from tests.integration.test_stack import workers_in, ready_in

folder = Path(sys.argv[1])
stack = Stack(folder / "stack", False, 2, None, print, workers_in(folder))
stack.start(lambda _: None, ready_in(folder))
print("up", flush=True)
stack.run_forever(threading.Event())
"""


def workers_in(
    folder: Path, *names: str, code: str = WORKER
) -> Callable[[EmbeddedServers, int, int | None], Sequence[Program]]:
    """Small programs in the place of Celery's, which leave marks in a folder."""

    def programs(_servers: EmbeddedServers, workers: int, _flower_port: int | None) -> Sequence[Program]:
        chosen = names or tuple(f"worker {number}" for number in range(1, workers + 1))
        return [Program(name, (sys.executable, "-c", code, str(folder), name), os.environ) for name in chosen]

    return programs


def ready_in(folder: Path) -> Callable[[], int]:
    """Counts those that have left their mark."""
    return lambda: len(_pids(folder))


def _pids(folder: Path) -> dict[str, int]:
    found = {path.stem: path.read_text() for path in folder.glob("*.pid")}
    return {name: int(pid) for name, pid in found.items() if pid}


@contextmanager
def _supervised(stack: Stack) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=stack.run_forever, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A persistent folder, which starts faster from the second time on."""
    return tmp_path_factory.mktemp("kept") / ".ticketflow"


@needs_proc
def test_from_start_to_stop(kept: Path, tmp_path: Path) -> None:
    events, prepared = list[str](), list[Mapping[str, str]]()
    stack = Stack(kept, True, 2, None, events.append, workers_in(tmp_path))

    def prepare(environment: Mapping[str, str]) -> None:
        assert not _pids(tmp_path)
        prepared.append(environment)

    try:
        stack.start(prepare, ready_in(tmp_path))
        pids = _pids(tmp_path)
        assert len(pids) == 2
        written = dict(line.split("=", 1) for line in stack.env_file.read_text().splitlines())
        assert written == prepared[0] == stack.servers.operator_environment
        assert stack.env_file.stat().st_mode & 0o777 == 0o600
        log = stack.folder / "logs" / "worker-1.log"
        assert f"worker 1 (pid {pids['worker 1']}) started; log: {log}" in events
        with pytest.raises(ConflictError, match=rf"running in .* already \(process {os.getpid()}\)"):
            Stack(stack.folder, True, 1, None, events.append).start(prepare, ready_in(tmp_path))
        assert stack.env_file.exists()
    finally:
        stack.stop()
    assert not any(map(is_running, pids.values()))
    assert len(list(tmp_path.glob("*.ended"))) == 2
    assert not stack.env_file.exists()
    assert processes_in(stack.folder) == {}
    assert (stack.folder / "stack.lock").exists()  # stale, and no obstacle:
    stack.start(lambda _: None, ready_in(tmp_path))
    stack.stop()
    stack.stop()


@needs_proc
def test_what_is_killed_is_started_again(tmp_path: Path) -> None:
    events = list[str]()
    stack = Stack(tmp_path / "stack", False, 2, None, events.append, workers_in(tmp_path))
    try:
        stack.start(lambda _: None, ready_in(tmp_path))
        keys = _worker_keys(stack, "groq", "survives")
        with _supervised(stack):
            former = _pids(tmp_path)["worker 2"]
            servers = [member.process.pid for member in stack.servers.members if member.process]
            for pid in (former, *servers):
                os.kill(pid, signal.SIGKILL)
            wait_for(lambda: _pids(tmp_path).get("worker 2", former) != former, "new worker 2")
            wait_for(lambda: _serves(stack), "servers at their old addresses")
            wait_for(lambda: _answers(lambda: keys.get("groq", fresh=True)), "Vault")
            assert keys.get("groq", fresh=True).value == "survives"
        assert any(line.startswith(f"worker 2 (pid {former}) ended with status -9; starting again") for line in events)
        assert f"worker 2 (pid {_pids(tmp_path)['worker 2']}) started again" in events
        assert not any(line.startswith("worker 1") and "ended" in line for line in events)
    finally:
        stack.stop()
    assert not stack.folder.exists()


def _worker_keys(stack: Stack, provider_id: str, key: str) -> VaultKeys:
    """Stores a key as an operator; returns a worker's view."""
    operator, worker = (
        VaultKeys(
            Settings.model_validate({k.removeprefix(PREFIX).lower(): v for k, v in env.items()} | {"key_stale_s": 0})
        )
        for env in (stack.servers.operator_environment, stack.servers.worker_environment)
    )
    operator.store(provider_id, key)
    return worker


def _serves(stack: Stack) -> bool:
    with redis.Redis.from_url(stack.servers.redis_url) as client:
        return _answers(client.ping) and _answers(lambda: psycopg.connect(stack.servers.database_url).close())


def _answers(call: Callable[[], object]) -> bool:
    try:
        call()
    except KeyMissingError:
        raise
    except Exception:
        return False
    return True


@needs_proc
def test_a_worker_that_cannot_start_stops_the_start(kept: Path, tmp_path: Path) -> None:
    broken = workers_in(tmp_path, code="import sys; sys.exit('no such module')")
    stack = Stack(kept, True, 1, None, lambda _: None, broken)
    with pytest.raises(StartFailedError, match=r"worker 1 did not start: it ended with status 1.*\n  no such module"):
        stack.start(lambda _: None, lambda: 0)
    assert processes_in(kept) == {}


@needs_proc
def test_workers_that_are_never_ready_stop_the_start(kept: Path, tmp_path: Path) -> None:
    stack = Stack(kept, True, 1, None, lambda _: None, workers_in(tmp_path))
    with pytest.raises(StartFailedError, match=r"0 of 1 are ready after 0\.3 s"):
        stack.start(lambda _: None, lambda: 0, ready_s=0.3)
    assert not any(map(is_running, _pids(tmp_path).values()))
    assert processes_in(kept) == {}


@needs_proc
def test_sigkill_of_the_owner_leaves_nothing_running(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE) as owner:
        try:
            assert owner.stdout is not None
            while owner.stdout.readline() != b"up\n":
                assert owner.poll() is None
            assert len(_pids(tmp_path)) == 2
        finally:
            owner.kill()
    wait_for(lambda: not any(map(is_running, _pids(tmp_path).values())), "end of the workers")
    wait_for(lambda: processes_in(tmp_path / "stack") == {}, "end of the servers")


@needs_proc
def test_flower_moves_when_its_port_is_taken_and_a_stubborn_program_is_killed(kept: Path, tmp_path: Path) -> None:
    events, ports = list[str](), list[int | None]()

    def programs(servers: EmbeddedServers, workers: int, flower_port: int | None) -> Sequence[Program]:
        ports.append(flower_port)
        return workers_in(tmp_path, "stubborn")(servers, workers, flower_port)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        stack = Stack(kept, True, 1, taken, events.append, programs)
        try:
            stack.start(lambda _: None, ready_in(tmp_path))
            assert ports[0] not in (None, taken)
            assert f"TICKETFLOW_FLOWER_PORT={ports[0]}\n" in stack.env_file.read_text()
            assert f"port {taken} is taken: Flower listens on {ports[0]}" in events
        finally:
            stack.stop(grace_s=0.2)
    pid = _pids(tmp_path)["stubborn"]
    assert not is_running(pid)
    assert f"stubborn (pid {pid}) is killed: it has not ended within 0.2 s" in events
