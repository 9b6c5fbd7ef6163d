"""Everything at random for as long as ``CHAOS_SOAK_S`` says: ``make soak``. A worker's memory and sockets stay flat."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.chaos import test_services as services
from tests.chaos.arena import JOBS, KEY, Arena, small
from tests.chaos.crew import Crew
from tests.chaos.table import Table
from tests.chaos.test_messages import Thief
from tests.chaos.test_vault import revoke_tokens
from tests.support.waiting import wait_for

SOAK_S = float(os.environ.get("CHAOS_SOAK_S", "600"))
PAUSE_S = (2.0, 15.0)
MEMORY_SLACK_KB, SOCKET_SLACK = 48 * 1024, 40
pytestmark = pytest.mark.timeout(SOAK_S + 900)


def kill_a_worker(arena: Arena, crew: Crew) -> None:
    crew.kill(arena.chance.randrange(1, len(crew.places)))


def stop_a_worker(arena: Arena, crew: Crew) -> None:
    crew.terminate(arena.chance.randrange(1, len(crew.places)), 30)


def freeze_a_worker(arena: Arena, crew: Crew) -> None:
    place = arena.chance.randrange(1, len(crew.places))
    crew.send(place, signal.SIGSTOP)
    services.stand_still(arena.chance.uniform(1, 25))
    crew.send(place, signal.SIGCONT)


def restart_the_provider(arena: Arena, crew: Crew) -> None:
    arena.stop_provider()
    services.stand_still(arena.chance.uniform(0, 3))
    arena.start_provider()


def trouble_the_provider(arena: Arena, crew: Crew) -> None:
    shares = {name: arena.chance.uniform(0, 0.05) for name in ("500", "503", "429-after", "cut", "truncated", "hang")}
    arena.plan(delay_s=arena.chance.uniform(0.05, 0.5), key=KEY, faults=shares)


def rotate_the_key(arena: Arena, crew: Crew) -> None:
    arena.store_key(KEY)


def meddle_with_messages(arena: Arena, crew: Crew) -> None:
    with arena.redis() as client, Thief(client, arena.chance):
        services.stand_still(3)


def restart_vault(arena: Arena, crew: Crew) -> None:
    arena.kill("OpenBao")
    services.stand_still(arena.chance.uniform(0, 10))
    arena.start("OpenBao")


def revoke(arena: Arena, crew: Crew) -> None:
    revoke_tokens(arena)


def freeze_vault(arena: Arena, crew: Crew) -> None:
    with arena.frozen("OpenBao"):
        services.stand_still(arena.chance.uniform(1, 20))


WORKERS_AND_PROVIDER = (
    kill_a_worker,
    stop_a_worker,
    freeze_a_worker,
    restart_the_provider,
    trouble_the_provider,
    rotate_the_key,
    meddle_with_messages,
    restart_vault,
    revoke,
    freeze_vault,
)


def memory_kb(pid: int) -> int:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def sockets(pid: int) -> int:
    """Open descriptors of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def break_something(arena: Arena, crew: Crew) -> str:
    """One fault, drawn from all; returns its name."""
    if arena.chance.random() < 0.5:
        fault = arena.chance.choice(WORKERS_AND_PROVIDER)
        fault(arena, crew)
        return fault.__name__
    outage = arena.chance.choice(services.REDIS + services.POSTGRES)
    outage(arena)
    return outage.__name__


def test_everything_at_random(arena: Arena, table: Table, tmp_path: Path) -> None:
    """The worker at the first place is never killed: it has to live through all of it, and stay as small as it was."""
    end, batches, faults, sizes_kb = time.monotonic() + SOAK_S, 0, list[str](), list[int]()
    arena.plan(delay_s=0.2, key=KEY)
    with Crew(small(arena), tmp_path, 3) as crew:
        pid = crew.places[0].process.pid
        with arena.single_jobs():
            arena.submit(JOBS, f"batch-{batches}")
            arena.progress(JOBS // 2, 120)
            memory, descriptors = memory_kb(pid), sockets(pid)
            while time.monotonic() < end:
                if arena.query("SELECT count(*) AS n FROM batches WHERE finished_at IS NULL")[0]["n"] < 2:
                    batches += 1
                    arena.submit(JOBS, f"batch-{batches}")
                faults.append(break_something(arena, crew))
                sizes_kb.append(memory_kb(pid))
                services.stand_still(arena.chance.uniform(*PAUSE_S))
            arena.plan(delay_s=0.05, key=KEY)
        report = arena.settled(600)
        grown_kb, more = memory_kb(pid) - memory, sockets(pid) - descriptors
        wait_for(lambda: sockets(pid) <= descriptors + SOCKET_SLACK, f"sockets to be closed, {more} more", 60)
    table.add(f"11 {len(faults)} faults in {SOAK_S:.0f} s", report, None)
    print(f"faults: {faults}; descriptors {descriptors}, {more} more")
    print(f"memory {memory} kB, grown by {grown_kb} kB; after each fault {sizes_kb}")
    assert grown_kb <= MEMORY_SLACK_KB
    assert crew.places[0].process.pid == pid, "it lived through all of it"
