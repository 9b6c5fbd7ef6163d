"""Our workers, as the Procfile starts them, in a fresh database; and jobs for them."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.place import PROVIDER_ID, Place
from bench.prompts import prompt
from bench.running import TIMEOUT_S, RunFailedError, all_running, wait_done
from bench.sample import Sample
from bench.server import LLMServer
from bench.watch import Watch
from config.presence import PresenceBoard
from config.redis_link import connect_redis
from config.redis_names import INTERACTIVE_QUEUE
from embedded.children import ChildProcesses
from embedded.process import ChildProcess
from embedded.programs import celery_programs
from jobs.kind import NewJob
from jobs.kinds import kind_named
from producer import BatchHandle, Producer

WORKERS = 2
READY_S = 60.0
SHOWN_S = 2.0
PRODUCERS = 2
WARM_UP = 1000
HELD_BACK = {"TICKETFLOW_SWEEP_INTERVAL_S": "600"}
"""While messages are held back the sweeper would take them for lost and send them again."""


@contextmanager
def workers(
    place: Place, count: int = WORKERS, settings: Mapping[str, str] | None = None
) -> Iterator[list[ChildProcess]]:
    """Worker processes, each of which has made calls before; ended with the block."""
    children = ChildProcesses()
    environment = place.worker() | dict(settings or {})
    try:
        started = [
            place.spawn(children, program.argv, environment) for program in celery_programs(place.servers, count, None)
        ]
        with connect_redis(place.redis_url(0)) as client, Producer(place.settings()) as producer:
            board = PresenceBoard(client, place.redis_url(0))
            if not _comes_true(lambda: len(board.living()) == count, started, READY_S):
                raise RunFailedError("the workers do not show themselves")
            warm = False
            while not warm:  # the few messages of one batch may all go to the same process
                submit(producer, WARM_UP).wait(TIMEOUT_S)
                warm = _comes_true(lambda: all(p.clients_made for p in board.living()), started, SHOWN_S)
        yield started
    finally:
        children.close()


def _comes_true(condition: Callable[[], bool], processes: Sequence[ChildProcess], timeout_s: float) -> bool:
    """Whether a condition comes true in time, while the processes live."""
    alive, deadline = all_running(processes), time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        if not alive():
            raise RunFailedError("a worker has ended")
        time.sleep(0.05)
    return True


def submit(producer: Producer, jobs: int) -> BatchHandle:
    """A batch of ``complete`` jobs."""
    return producer.submit_batch("complete", new_jobs(jobs), provider=PROVIDER_ID)


def new_jobs(jobs: int) -> Iterator[NewJob]:
    """Inputs of ``complete`` jobs."""
    kind = kind_named("complete")
    return (kind.accept({"prompt": prompt(number)}) for number in range(jobs))


@dataclass(frozen=True)
class Batch:
    """One batch, from its submission to the settlement of its last job.

    Args:
        settings: of workers and producer, beyond the defaults.
    """

    settings: Mapping[str, str] = field(default_factory=dict)

    def run(self, place: Place, jobs: int) -> Sample:
        """One run."""
        with place.fresh(), workers(place, settings=self.settings) as processes:
            with Producer(place.settings({**place.operator(), **self.settings})) as producer:
                place.llm.reset()
                with Watch([process.pid for process in processes]) as watch:
                    handle = submit(producer, jobs)
                    place.llm.wait_answered(jobs, TIMEOUT_S, all_running(processes), watch.tick)
                    done = handle.wait(TIMEOUT_S)
            if done.succeeded != jobs or done.finished_at is None:
                raise RunFailedError(f"{jobs - done.succeeded} jobs of a batch failed")
            return watch.sample(jobs, monotonic_at(done.finished_at.timestamp()), in_flight(place.llm))


@dataclass(frozen=True)
class Single:
    """Jobs enqueued one by one, a message each, all of them waiting when the workers see the first.

    Args:
        settings: of the workers, beyond the defaults.
    """

    settings: Mapping[str, str] = field(default_factory=dict)

    def run(self, place: Place, jobs: int) -> Sample:
        """One run."""
        with place.fresh(), workers(place, settings={**self.settings, **HELD_BACK}) as processes:
            alive = all_running(processes)
            _enqueue(place, jobs)
            place.llm.reset()
            with Watch([process.pid for process in processes]) as watch:
                place.release(INTERACTIVE_QUEUE)
                place.llm.wait_answered(jobs, TIMEOUT_S, alive, watch.tick)
                ended_at = _last_settled(place)
            return watch.sample(jobs, ended_at, in_flight(place.llm))


def _enqueue(place: Place, jobs: int) -> None:
    """Enqueues from several producers at once; the messages are held back."""
    children = ChildProcesses()
    try:
        argv = (sys.executable, "-m", "bench.enqueue_single", str(jobs // PRODUCERS))
        for process in [place.spawn(children, argv, place.staging()) for _ in range(PRODUCERS)]:
            wait_done(process)
    finally:
        children.close()


def _last_settled(place: Place) -> float:
    """When the last single job was settled, by ``time.monotonic()``, once all are.

    Raises:
        RunFailedError: not all have succeeded.
    """
    question = """
        SELECT count(*) FILTER (WHERE state <> 'succeeded') AS missing, max(finished_at) AS last
        FROM jobs WHERE batch_id IS NULL
    """
    deadline = time.monotonic() + TIMEOUT_S
    with Producer(place.settings()) as producer:
        while (row := producer.database.query(question)[0])["missing"]:
            if time.monotonic() > deadline:
                raise RunFailedError(f"{row['missing']} jobs have not succeeded")
            time.sleep(0.05)
    return monotonic_at(row["last"].timestamp())


def monotonic_at(wall_s: float) -> float:
    """A moment of the wall clock by ``time.monotonic()``."""
    return time.monotonic() - (time.time() - wall_s)


def in_flight(llm: LLMServer) -> int:
    """The most calls that the provider saw at once."""
    return llm.counts().most_in_flight
