"""The Celery application of the workers: ``celery -A worker.app worker -P threads``; its one task is a doorway."""

import gc
import logging
import os
import time
from typing import Any

from celery.concurrency import get_implementation
from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.exceptions import Reject
from celery.signals import (
    worker_init,
    worker_process_init,
    worker_process_shutdown,
    worker_shutdown,
    worker_shutting_down,
)

from config.broker import RUN_JOBS, make_app
from config.errors import ServiceUnavailableError, SettingsError
from config.redis_names import BULK_QUEUE
from config.settings import MAX_SLICE_JOBS, load_settings
from jobs.hints import NextJobs
from jobs.ids import parse_id
from jobs.records import Ask
from worker.adapters import quiet_sdks, scrub_environment
from worker.events import GatheredEvents
from worker.runtime import Runtime

UNWRAP_S = 15.0
"""Patience with Vault at the start; then the process ends, and may be started again with the same token."""

COLLECT_EVERY = 100_000, 2
"""Objects made beyond those that were freed before Python's cycle collector looks at the young ones, and how many such
looks before it looks again at those that it has passed once; 700 and 10 by default. A call that succeeds leaves no
cycles, one that fails some 140 objects or 22 kB: up to 15 MB may wait. With 1,300 calls in flight this costs 2 to 4 us
a call, where 20,000 and 10 cost 25 to 35 (three runs of each on 2 cores)."""

log = logging.getLogger(__name__)
settings = load_settings()
app = make_app(settings)
app.steps["consumer"].add(GatheredEvents)
for chatty in ("celery.worker.strategy", "celery.app.trace"):  # two lines a message, which say nothing of its jobs
    logging.getLogger(chatty).setLevel(logging.WARNING)
_runtimes: dict[int, Runtime] = {}


@app.task(name=RUN_JOBS)
def run_jobs(provider_id: str, job_ids: list[str], batch_id: str | None = None, jobs: int = 0) -> None:
    """Runs jobs of one provider. The message is a hint: the ledger says which of them are still to be done.

    Args:
        provider_id: whose they are.
        job_ids: jobs by name.
        batch_id: a batch whose next jobs are wanted besides.
        jobs: how many of those.
    """
    ids = [job_id for job_id in map(parse_id, map(str, job_ids)) if job_id]
    if len(ids) < len(job_ids):
        log.warning("a message for %s names %d ids that are none", provider_id, len(job_ids) - len(ids))
    bulk = (run_jobs.request.delivery_info or {}).get("routing_key") == BULK_QUEUE
    ask = Ask(ids, str(provider_id), next_jobs=_next_jobs(batch_id, jobs))
    if not _open_runtime().run_jobs(ask, bulk=bulk):
        raise Reject("the worker stops", requeue=True)


def _next_jobs(batch_id: object, jobs: object) -> NextJobs | None:
    """What a message says of a batch, if it makes sense: anybody who can write to Redis may have sent it."""
    known = parse_id(batch_id) if isinstance(batch_id, str) else None
    return NextJobs(known, jobs) if known and isinstance(jobs, int) and 0 < jobs <= MAX_SLICE_JOBS else None


def _open_runtime() -> Runtime:
    """This process' runtime; a child of a fork makes its own."""
    if os.getpid() not in _runtimes:
        _runtimes[os.getpid()] = Runtime(settings, app, tuple(app.amqp.queues.consume_from))
        _runtimes[os.getpid()].start()
        _spare_collector()
    return _runtimes[os.getpid()]


def _spare_collector() -> None:
    """Leaves what was loaded out of the collector's rounds, and makes those rarer: a third of a job's CPU time else.

    Some hundred thousand objects of Celery and the SDKs never go, and were looked at again and again for the sake of
    the few cycles that calls leave behind.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_EVERY)


@worker_init.connect
def _worker_starts(sender: Any = None, **_: Any) -> None:
    scrub_environment()
    quiet_sdks()
    _unwrap()
    if not issubclass(get_implementation(sender.pool_cls), PreforkPool):  # its children make their own, after the fork
        _open_runtime()


def _unwrap() -> None:
    """A wrapped secret id can be had once: here, before the fork, so that the children have it too."""
    global settings
    deadline = time.monotonic() + UNWRAP_S
    while settings.vault_secret_id_wrapped or settings.vault_secret_id_wrapped_file:
        from config.vault import unwrap_credentials  # hvac, for those who need it

        try:
            settings = unwrap_credentials(settings)
        except (SettingsError, ServiceUnavailableError) as error:
            if isinstance(error, SettingsError) or time.monotonic() > deadline:
                log.error("%s", error)  # noqa: TRY400 - the words say it all
                raise SystemExit(1) from None
            log.warning("%s", error)
            time.sleep(1)


@worker_process_init.connect
def _child_starts(**_: Any) -> None:
    _open_runtime()


@worker_shutting_down.connect
def _worker_drains(**_: Any) -> None:
    if os.getpid() in _runtimes:
        _runtimes[os.getpid()].drain()


@worker_shutdown.connect
@worker_process_shutdown.connect
def _worker_stops(**_: Any) -> None:
    if os.getpid() in _runtimes:
        _runtimes.pop(os.getpid()).close()
