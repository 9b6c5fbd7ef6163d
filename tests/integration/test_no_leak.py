"""Two thousand changes under load leave a worker's memory and sockets where they were."""

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from config.keys import open_keys
from config.presence import PresenceBoard
from config.providers import parse_provider
from config.settings import Settings
from jobs.kinds import KINDS
from producer.convergence import wait_for_generation
from producer.producer import Producer
from tests.conftest import Stack
from tests.support.fault_server import Exchange, FaultServerThread, answer
from tests.support.processes import needs_proc
from tests.support.waiting import wait_for
from tests.support.workers import WorkerProcess, living

CHANGES, WARM_UP, ROTATIONS = 2000, 400, 40
CALLS_IN_FLIGHT, CALL_S = 20, 0.1
THREADS = 4
ALLOWED_BYTES = 3 * 2**20
PROVIDERS = [f"custom-busy-{n}" for n in range(8)]
REPLY = {"choices": [{"message": {"content": "four"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}
FIELDS = {"name": "Busy", "type": "openai-compatible", "default_model": "gpt-4o"}


async def steadily(exchange: Exchange) -> None:
    """Answers after a moment, so that the load is steady and leaves the processor to the changes."""
    await asyncio.sleep(CALL_S)
    await answer(REPLY)(exchange)


def private_bytes(pid: int) -> int:
    """Memory that the process alone holds; what it shares with its siblings is not its to leak."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Private_"))


def sockets(pid: int) -> int:
    """Its open sockets."""
    found = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found += os.readlink(link).startswith("socket:")
        except OSError:  # closed since it was listed
            continue
    return found


@contextmanager
def load(settings: Settings, failures: list[str]) -> Iterator[None]:
    """Small batches at all providers side by side, so that each change is met by a call; ends with the block."""
    stop = threading.Event()

    def work(producer: Producer, provider_ids: list[str]) -> None:
        while not stop.is_set():
            jobs = [KINDS["complete"].accept({"prompt": f"prompt {n}"}) for n in range(5)]
            batches = [producer.submit_batch("complete", jobs, provider=provider_id) for provider_id in provider_ids]
            for batch in batches:
                batch.wait(60)
                failures.extend(job.error.type if job.error else job.state for job in batch.jobs() if not job.result)

    with Producer(settings) as producer, ThreadPoolExecutor(THREADS) as pool:
        working = [pool.submit(work, producer, PROVIDERS[n::THREADS]) for n in range(THREADS)]
        try:
            yield
        finally:
            stop.set()
        for one in working:
            one.result(90)


def change(producer: Producer, urls: list[str], count: int) -> int:
    """Moves the providers back and forth in turn, each time with another deadline; returns the last generation."""
    generation = 0
    board = PresenceBoard(producer.redis, producer.settings.redis_url)
    for number in range(count):
        provider_id = PROVIDERS[number % len(PROVIDERS)]
        fields = {"base_url": urls[number // len(PROVIDERS) % len(urls)], "timeout_s": 30.0 + number % 7}
        generation = producer.providers.change(provider_id, fields)
        if number % 3 == 0:  # faster than anybody follows, no call would get as far as a client
            assert wait_for_generation(board, producer.ledger, generation, 20).behind == ()
        if number % (CHANGES // ROTATIONS) == 0:
            open_keys(producer.settings).store(provider_id, f"sk-{number}")
            generation = producer.providers.key_was_set(provider_id)
    return generation


def settled(pid: int, generation: int, producer: Producer) -> tuple[int, int]:
    """Memory and sockets once the process is idle: the least of some moments, since buffers come and go."""
    board = PresenceBoard(producer.redis, producer.settings.redis_url)
    assert wait_for_generation(board, producer.ledger, generation, 20).behind == ()
    wait_for(lambda: [p.jobs for p in board.living()] == [0], "an idle worker")
    seen = []
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        seen.append((private_bytes(pid), sockets(pid)))
        time.sleep(0.1)
    return min(bytes_ for bytes_, _ in seen), min(count for _, count in seen)


@needs_proc
@pytest.mark.timeout(240)
def test_two_thousand_changes_under_load(stack: Stack, tmp_path: Path, figures: list[str]) -> None:
    # With glibc's 16 arenas, which of them keep freed pages is a matter of luck, of some megabytes.
    own = {"TICKETFLOW_CALLS_IN_FLIGHT": str(CALLS_IN_FLIGHT), "MALLOC_ARENA_MAX": "2"}
    environment = stack.worker_environment | own
    failures: list[str] = []
    with (
        FaultServerThread(steadily) as one,
        FaultServerThread(steadily) as other,
        WorkerProcess(environment, tmp_path / "worker.log") as worker,
        Producer(stack.settings) as producer,
    ):
        pid, urls = worker.process.pid, [f"{one.url}/v1", f"{other.url}/v1"]
        for provider_id in PROVIDERS:
            producer.providers.add(parse_provider({"id": provider_id, "base_url": urls[0], **FIELDS}))
            open_keys(producer.settings).store(provider_id, "sk")
        with load(stack.settings, failures):
            generation = change(producer, urls, WARM_UP)
        bytes_before, sockets_before = settled(pid, generation, producer)
        started = time.monotonic()
        with load(stack.settings, failures):
            generation = change(producer, urls, CHANGES)
            took_s = time.monotonic() - started
        bytes_after, sockets_after = settled(pid, generation, producer)
        (shown,) = living(stack.operator_environment)
    figures.append(
        f"{CHANGES} changes of a provider under load ({CHANGES / took_s:.0f}/s, {shown.clients_made} clients made): "
        f"memory {bytes_before / 2**20:.1f} → {bytes_after / 2**20:.1f} MB, sockets {sockets_before} → {sockets_after}"
    )
    assert failures == []
    assert shown.clients_made > 500, "the changes were felt: what each of them left behind would show"
    assert shown.clients <= len(PROVIDERS)
    assert bytes_after - bytes_before <= ALLOWED_BYTES
    assert sockets_after - sockets_before <= CALLS_IN_FLIGHT * len(urls), "no more than the pool keeps alive"
