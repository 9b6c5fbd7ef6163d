"""All that a worker process keeps: one event loop in a thread, one session, the registry, keys, clients, its lease."""

import asyncio
import logging
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any

import aiohttp
import uvloop
from celery import Celery

from config.database import Database
from config.errors import ServiceUnavailableError, TicketflowError
from config.keys import open_keys
from config.presence import Presence, PresenceBoard
from config.provider_store import ProviderStore
from config.providers import Limits
from config.redis_link import connect_redis
from config.redis_names import BULK_QUEUE, INTERACTIVE_QUEUE
from config.registry import Registry
from config.registry_cache import RedisCache
from config.settings import Settings
from jobs.bell import Bell
from jobs.dispatch import Dispatcher
from jobs.hints import Hint
from jobs.ledger import Ledger
from jobs.records import Ask
from jobs.work import WorkLedger
from worker.adapters import adapter_class, make_adapter
from worker.books import THREADS, LedgerBooks
from worker.caller import Caller
from worker.circuit import Circuits
from worker.circuit_exchange import CircuitExchange
from worker.clients import ClientCache
from worker.job_runner import JobRunner
from worker.limiter import Limiter
from worker.limits.exchange import LimitExchange
from worker.limits.line import EXCHANGE_TIMEOUT_S
from worker.places import Places, SliceRoom, SliceShare
from worker.registry_watch import RegistryWatch
from worker.retention import Retention
from worker.retry import RetryPolicy
from worker.session import guarded_session
from worker.singles import SingleRunner
from worker.slices import SliceRunner
from worker.sweeper import Sweeper

log = logging.getLogger(__name__)

BEAT_S = 1.0
AGAIN_S = 1.0
"""A chore that a service could not serve is tried again so soon: a lease is renewed as soon as Postgres is back."""

GIVE_WAY_S = 0.012
"""So long Celery's thread stands back once it has handed over a job where nothing else runs: what it does after a task,
and the acknowledgement, would have the interpreter just when the claim is to go out. A job took 0.7 ms more, of 16."""
REGISTRY_LOOK_S = 5.0
UNLIMITED = Limits()
PASS_ON = 0.75
"""Chance that a slice which a process has no room for goes to the next one: four tries on average."""


class Runtime:
    """The one runtime of a process; made after the fork, closed when the worker stops.

    Args:
        settings: everything it needs to know.
        app: the Celery application, to send further messages.
        queues: the queues that this process listens to, for show.
    """

    def __init__(self, settings: Settings, app: Celery, queues: Sequence[str]) -> None:
        self.settings = settings
        self.pid = os.getpid()
        self.worker_id = f"{socket.gethostname()}:{self.pid}:{uuid.uuid4().hex[:8]}"
        self._queues = tuple(queues)
        self._database = Database(settings.database_url, "ticketflow-worker", THREADS + 2, plans_once=True)
        self._redis = connect_redis(settings.redis_url)
        cache = RedisCache(self._redis, settings.redis_url)
        self._store = ProviderStore(self._database, cache, settings.egress)
        self.registry = Registry(self._store, cache)
        self._keys = open_keys(settings)
        self._key_generations: dict[str, int] = {}
        self._work = WorkLedger(self._database, self.worker_id, Bell(self._redis).ring)
        self._dispatcher = Dispatcher(app, Ledger(self._database), settings)
        self._board = PresenceBoard(self._redis, settings.redis_url)
        self._watch = RegistryWatch(self.registry, self._redis, self._registry_changed)
        self._sweeper = Sweeper(self._work, self._dispatcher, self._redis, settings)
        self._retention = Retention(self._database, settings, lambda: self._caller.draining)
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="runtime", daemon=True)
        self._announcing = threading.Lock()
        self._room = SliceRoom(settings.batch_slices, settings.batch_jobs)
        self._places = Places(settings.calls_in_flight)
        self._running: set[asyncio.Task[None]] = set()
        self._chores: list[Future[None]] = []

    def start(self) -> None:
        """Opens everything and announces the process; services that are away are waited for in the background."""
        self._thread.start()
        self._submit(self._open()).result()
        self._watch.start()
        chores: list[tuple[str, float, Callable[[], None]]] = [
            ("lease", self.settings.lease_s / 3, self._renew_lease),
            ("presence", BEAT_S, self._announce),
            ("sweeper", self.settings.sweep_interval_s, self._sweep),
            ("retention", self.settings.sweep_interval_s, self._retention.round),
            ("registry", REGISTRY_LOOK_S, self._overtake),
            ("give back", BEAT_S, self._give_back),
        ]
        self._chores = [self._submit(self._repeat(name, pause_s, do)) for name, pause_s, do in chores]

    def run_jobs(self, ask: Ask, *, bulk: bool) -> bool:
        """Runs one message's jobs; called by a task thread. False: the worker stops, nothing is done.

        Slices of batches hold their thread, so that no more are taken than can be run; beyond the share that batches
        have of the threads a slice is declined: it goes to another process, or its batch sends it again later. A single
        job is handed over and its thread is free: were it held for the length of a call, a dozen slow calls would block
        all others; and where its provider has its share of the places, its message is let go. What a message asked for
        is in the ledger, so nothing hangs on the message any more; and since it is a hint, others that wait for the
        same provider come along: a burst of single jobs shares claims and settlements as a batch does.
        """
        if bulk:
            return self._run_slice(ask)
        if self._caller.draining:
            return False
        alone = not self._running
        if self._singles.take(ask.job_ids, ask.provider_id) and alone:
            time.sleep(GIVE_WAY_S)
        return True

    def _run_slice(self, ask: Ask) -> bool:
        if self._caller.draining:
            return False
        if not self._room.take(ask.jobs):
            self._decline(ask)
            return True
        share = SliceShare(self._room, ask.jobs)
        try:
            self._submit(self._tracked(lambda: self._run_slice_jobs(ask, share))).result()
        except (CancelledError, asyncio.CancelledError):
            log.info("%d jobs of a message went back to the queue: the worker stops", ask.jobs)
        finally:
            share.give()
        return True

    def _decline(self, ask: Ask) -> None:
        """Another process may have room, so most slices go round a few times; the others wait in their batch."""
        try:
            if random.random() < PASS_ON:  # noqa: S311 - no secret
                self._dispatcher.send(Hint(ask.provider_id, BULK_QUEUE, tuple(ask.job_ids), ask.next_jobs))
            elif ask.job_ids:
                self._work.unsend(ask.job_ids)
        except ServiceUnavailableError as error:
            log.warning("%d jobs were not passed on (%s); the sweeper will send them", ask.jobs, error)

    async def _run_slice_jobs(self, ask: Ask, share: SliceShare) -> None:
        hand = await self._slices.claim(ask)
        share.keep(len(hand.claims) + len(hand.suspects))
        await self._slices.run(hand, share.give_one)

    def drain(self) -> None:
        """Begins no further call; calls in flight get the grace time, then they are cut off and their jobs go back."""
        self._caller.draining = True
        self._cutting_off = self._submit(self._cut_off())

    def close(self) -> None:
        """Takes the process off the board and closes everything; bounded in time, harmless when repeated."""
        if self._loop.is_closed():
            return
        self._watch.stop()
        if not self._caller.draining:
            self.drain()
        self._cutting_off.result(timeout=self.settings.shutdown_grace_s + 5)
        self._submit(self._close()).result(timeout=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
        self._books.close()
        try:
            self._work.end_lease()
            self._board.leave(self.worker_id)
        except TicketflowError as error:
            log.info("not signed off: %s", error)
        self._database.close()
        self._redis.connection_pool.disconnect()

    async def _open(self) -> None:
        settings = self.settings
        self._leased = asyncio.Event()
        self._session: aiohttp.ClientSession = guarded_session(settings.egress, settings.response_max_bytes)
        self._clients = ClientCache(lambda provider, key: make_adapter(provider, key, self._session, settings))
        self._books = LedgerBooks(self._work)
        self._limits_redis = connect_redis(settings.redis_url, EXCHANGE_TIMEOUT_S)
        exchange = LimitExchange(self._limits_redis, settings.redis_url, self.worker_id, settings.lease_s)
        self._limiter = Limiter(self._limits_of, exchange, settings.lease_s)
        circuit_exchange = CircuitExchange(self._limits_redis, settings.redis_url, self.worker_id)
        self._circuits = Circuits(circuit_exchange, self._limiter.is_paused)
        self._caller = Caller(
            self.registry,
            self._keys,
            self._clients,
            self._books,
            lambda provider: adapter_class(provider, settings),
            self._limiter,
            self._circuits,
            settings.calls_in_flight,
        )
        self._runner = JobRunner(
            self._caller, self._books, RetryPolicy(settings.max_attempts, total_time_s=settings.total_time_s)
        )
        self._slices = SliceRunner(self._books, self._runner, self._dispatcher, settings)
        self._singles = SingleRunner(self._places, self._slices, self._books, self._dispatcher, self._begin)

    def _limits_of(self, provider_id: str) -> Limits:
        entry = self.registry.held(provider_id)
        return entry.provider.limits if entry else UNLIMITED

    async def _tracked(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs has a task
        self._running.add(task)
        try:
            await self._leased.wait()  # a claim without a lease looks like one of a dead process
            await work()
        finally:
            self._running.discard(task)

    def _begin(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if not self._caller.draining:
            self._submit(self._tracked(work)).add_done_callback(_told)

    async def _cut_off(self) -> None:
        self._limiter.drain()
        if self._running:
            await asyncio.wait(self._running, timeout=self.settings.shutdown_grace_s)
        for task in self._running:
            task.cancel()

    async def _close(self) -> None:
        for chore in self._chores:
            chore.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=5)
        await self._limiter.close()
        await self._circuits.close()
        self._limits_redis.connection_pool.disconnect()
        await self._session.close()

    async def _repeat(self, name: str, pause_s: float, do: Callable[[], None]) -> None:
        """A chore of the process: what fails in one round is said and done in the next."""
        while True:
            wait_s = pause_s
            try:
                await asyncio.to_thread(do)
            except TicketflowError as error:
                log.warning("%s: %s", name, error)
                wait_s = min(pause_s, AGAIN_S)
            except Exception:
                log.exception("%s failed", name)
            await asyncio.sleep(wait_s)

    def _registry_changed(self) -> None:
        """In the watch's thread: drop what is outdated first, then say which generation is held."""
        entries = dict(self.registry.snapshot.entries)
        for provider_id, entry in entries.items():
            if self._key_generations.get(provider_id, 0) != entry.key_generation:
                self._keys.expire(provider_id)
        self._key_generations = {provider_id: entry.key_generation for provider_id, entry in entries.items()}
        self._submit(self._invalidate(entries)).result(timeout=5)
        try:
            self._announce()
        except TicketflowError as error:
            log.warning("presence: %s", error)

    async def _invalidate(self, entries: dict[str, Any]) -> None:
        self._clients.invalidate(entries)
        self._limiter.refresh()

    def _sweep(self) -> None:
        room = self._room.free if BULK_QUEUE in self._queues else 0
        waiting = self._sweeper.sweep(dict(self._slices.in_hand), room, self._places.full)
        if waiting and INTERACTIVE_QUEUE in self._queues:
            self._loop.call_soon_threadsafe(self._singles.look_for, waiting)

    def _give_back(self) -> None:
        asked = self._work.asked_back() if self._slices.in_hand else []
        if asked:
            self._loop.call_soon_threadsafe(self._slices.give_back, asked)

    def _overtake(self) -> None:
        generation = self._store.overtake()
        if generation:
            log.warning("Postgres is behind Redis, as after a restore: the registry goes on at %d", generation)

    def _renew_lease(self) -> None:
        self._work.renew_lease(self.settings.lease_s)
        if not self._leased.is_set():
            self._submit(self._set_leased()).result(timeout=5)
            self._announce()
            self._dispatcher.feed_any()

    async def _set_leased(self) -> None:
        self._leased.set()

    def _announce(self) -> None:
        """Says how the process is, once it can work: who waits for the workers asks for those with a lease."""
        if not self._leased.is_set():
            return
        with self._announcing:  # two threads announce: the older word must not come last
            counters = self._clients.counters
            self._board.announce(
                Presence(
                    self.worker_id,
                    socket.gethostname(),
                    self.pid,
                    self._queues,
                    self.registry.generation,
                    clients=self._clients.live,
                    in_flight=self._clients.leases,
                    jobs=len(self._slices.in_hand),
                    clients_made=counters.made,
                    clients_reused=counters.reused,
                    clients_invalidated=counters.invalidated,
                    purged=self._retention.purged,
                    **self._sweeper.mended,
                )
            )

    def _submit(self, coroutine: Coroutine[Any, Any, None]) -> "Future[None]":
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)


def _told(future: "Future[None]") -> None:
    if not future.cancelled() and future.exception():
        log.error("a single job met a fault of ours; it stays queued", exc_info=future.exception())
