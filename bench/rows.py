"""The rows of the table: what is run, by name, with as many jobs as make some ten seconds of work."""

from dataclasses import dataclass
from typing import Protocol

from bench.bare_rows import Bare
from bench.ours import Batch, Single
from bench.peer_rows import Peer
from bench.place import Place
from bench.sample import Sample


class Runner(Protocol):
    """Does one run."""

    def run(self, place: Place, jobs: int) -> Sample:
        """Runs ``jobs`` jobs, or a few less where they do not divide evenly."""


@dataclass(frozen=True)
class Row:
    """One row; ``jobs`` of a whole measurement and of a quick one."""

    what: str
    runner: Runner
    jobs: int
    quick_jobs: int


def celery(pool: str, concurrency: int, copies: int = 1) -> Peer:
    """Celery's worker, once or several times."""
    command = ("celery", "-A", "bench.peers.celery_tasks", "worker", "--loglevel=INFO", "-P", pool)
    return Peer("celery", (*command, "-c", str(concurrency)), ("celery",), 2 * concurrency * copies, copies)


def dramatiq(threads: int) -> Peer:
    """dramatiq's two processes."""
    command = ("dramatiq", "bench.peers.dramatiq_tasks", "--processes", "2", "--threads", str(threads))
    return Peer("dramatiq", command, ("dramatiq:default.msgs", "dramatiq:default"), 4 * threads)


def taskiq(tasks: int) -> Peer:
    """taskiq's two processes."""
    command = ("taskiq", "worker", "bench.peers.taskiq_tasks:broker", "--workers", "2", "--max-async-tasks", str(tasks))
    return Peer("taskiq", command, ("taskiq",), 4 * tasks)


ROWS: dict[str, Row] = {
    "batch": Row("ours: one batch, 2 processes", Batch(), 100_000, 1_000),
    "single": Row("ours: one message a job, 2 processes", Single(), 10_000, 100),
    "bare-aiohttp": Row("aiohttp in a loop, 2 processes of 500", Bare("aiohttp", 2), 30_000, 2_000),
    "bare-aiohttp-1": Row("the same, 1 process", Bare("aiohttp", 1), 15_000, 1_000),
    "bare-sdk-aiohttp": Row("AsyncOpenAI over aiohttp in a loop, 2 of 500", Bare("sdk-aiohttp", 2), 20_000, 1_000),
    "bare-sdk-aiohttp-1": Row("the same, 1 process", Bare("sdk-aiohttp", 1), 10_000, 500),
    "bare-sdk-default": Row("AsyncOpenAI as it comes in a loop, 2 of 500", Bare("sdk-default", 2), 8_000, 500),
    "bare-sdk-default-1": Row("the same, 1 process", Bare("sdk-default", 1), 4_000, 250),
    "celery-prefork-16": Row("Celery, 16 processes, openai", celery("prefork", 16), 400, 32),
    "celery-threads-200": Row("Celery, 200 threads, openai", celery("threads", 200), 4_000, 200),
    "celery-threads-2x200": Row("the same twice, 2 processes", celery("threads", 200, copies=2), 4_000, 200),
    "dramatiq": Row("dramatiq, 2 processes of 150 threads, openai", dramatiq(150), 4_000, 200),
    "taskiq": Row("taskiq, 2 processes of 400 tasks, AsyncOpenAI", taskiq(400), 20_000, 200),
}
