"""Calls to providers: prepared with definition and key, entered as intents, made through a leased client, accounted."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass

from config.egress import is_local_url
from config.errors import CallError, KeyMissingError, ProviderDisabledError, UnknownNameError
from config.keys import KeySource, ProviderKey
from config.providers import Provider
from config.redis_names import BULK_QUEUE
from config.registry import Entry, Registry
from jobs.chat import NO_USAGE, ChatReply, ChatRequest, Usage
from jobs.cost import cost_of, most_usd
from jobs.records import CallEnd, CallStart, Origin
from worker.adapters import Adapter
from worker.budgets import Budgets, NoRoomError
from worker.circuit import Circuits, is_ill
from worker.clients import ClientCache
from worker.limiter import Limiter, Place
from worker.progress import Books, Progress, YieldError
from worker.session import answer_head

UNSEEN_S = 8.0
"""A process silent for ten seconds (``config.presence.TTL_S``) is passed over by those who wait for a change."""


class LeaseLostError(Exception):
    """The job is no longer ours: nothing may be called or settled for it."""


class SupersededError(Exception):
    """While the call was being prepared the provider was changed, or its turn passed: it is prepared anew."""


@dataclass(frozen=True)
class Prepared:
    """What a call needs: a provider as it is defined now, and its key (None where it needs none)."""

    entry: Entry
    key: ProviderKey | None

    def origin(self, model: str | None) -> Origin:
        """Where an answer comes from; ``model`` None is the provider's default."""
        provider = self.entry.provider
        version = self.key.version if self.key else None
        return Origin(provider.id, self.entry.generation, version, model or provider.default_model)


class _Both:
    """One of a few places, and then one of all: what waits here holds none of the others' places.

    Args:
        few: how many places are here.
        every: the places of all.
    """

    def __init__(self, few: int, every: asyncio.Semaphore) -> None:
        self._few, self._every = asyncio.Semaphore(few), every

    async def __aenter__(self) -> None:
        await self._few.acquire()
        try:
            await self._every.acquire()
        except BaseException:
            self._few.release()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._every.release()
        self._few.release()


class Caller:
    """Makes calls, each on the books; the one way to a provider.

    Args:
        registry: resolves provider ids.
        keys: gives their keys.
        clients: gives their clients.
        books: where intents are entered.
        load: loads what the client of a provider needs; may take its time.
        limiter: lets a call wait for its turn.
        circuits: know which providers are left alone.
        calls_in_flight: most calls at once in this process.
    """

    def __init__(
        self,
        registry: Registry,
        keys: KeySource,
        clients: ClientCache,
        books: Books,
        load: Callable[[Provider], object],
        limiter: Limiter,
        circuits: Circuits,
        calls_in_flight: int,
    ) -> None:
        self._registry, self._keys, self._clients, self._books = registry, keys, clients, books
        self._load, self._loaded, self._limiter, self._circuits = load, set[str](), limiter, circuits
        self._budgets = Budgets(books)
        self._slots = asyncio.Semaphore(calls_in_flight)
        self._bulk_slots = _Both(max(1, calls_in_flight - max(1, calls_in_flight // 10)), self._slots)
        self.draining = False

    async def prepare(self, provider_id: str, *, fresh_key: bool = False) -> Prepared:
        """A provider that jobs may use, with its key.

        Raises:
            ProviderDisabledError: it was removed or disabled.
            KeyMissingError, KeyUnavailableError, ServiceUnavailableError: nothing can be called now.
        """
        entry = await self.resolve(provider_id)
        if not entry.provider.enabled:
            raise ProviderDisabledError(provider_id, f"provider {provider_id} is disabled")
        return Prepared(entry, await self.key(entry.provider, fresh=fresh_key))

    async def resolve(self, provider_id: str) -> Entry:
        """A provider, also a disabled one, with its SDK loaded."""
        entry = self._registry.held(provider_id)
        if entry is None:
            try:
                entry = await self._books.in_thread(lambda: self._registry.resolve(provider_id))
            except UnknownNameError:
                raise ProviderDisabledError(provider_id, f"provider {provider_id} has been removed") from None
        provider = entry.provider
        if provider.type not in self._loaded:
            await self._books.in_thread(lambda: self._load(provider))
            self._loaded.add(provider.type)
        return entry

    def definition(self, provider_id: str) -> Provider | None:
        """A provider as this process holds it; None where it does not."""
        entry = self._registry.held(provider_id)
        return entry.provider if entry else None

    async def key(self, provider: Provider, *, fresh: bool) -> ProviderKey | None:
        """The provider's key; one on this machine may do without."""
        try:
            held = None if fresh else self._keys.held(provider.id)
            return held or await self._books.in_thread(lambda: self._keys.get(provider.id, fresh=fresh))
        except KeyMissingError:
            if is_local_url(provider.base_url):
                return None
            raise

    async def call(self, progress: Progress, request: ChatRequest, *, fresh_key: bool = False) -> ChatReply:
        """One paid call to the provider whose turn it is, by the definition and key as of when it is made.

        Args:
            progress: of the job; keeps what came of the call.
            request: what is asked.
            fresh_key: ask the key's source first.

        Raises:
            CallError: why there is no answer; ProviderUnavailableError: no call was made.
            LeaseLostError, YieldError: nothing was called, and nothing may be now.
        """
        while True:
            try:
                return await self._in_turn(progress, request, fresh_key=fresh_key)
            except NoRoomError as full:
                await self._budgets.wait(progress, full.cost_usd, lambda: self.draining)

    async def _in_turn(self, progress: Progress, request: ChatRequest, *, fresh_key: bool) -> ChatReply:
        provider_id = progress.provider_id
        prepared = await self.prepare(provider_id, fresh_key=fresh_key)
        self._circuits.check(prepared.entry)
        async with self._limiter.place(progress, request) as place:
            while True:
                try:
                    return await self._make(progress, prepared, request, place)
                except SupersededError:
                    prepared = await self.prepare(provider_id, fresh_key=fresh_key)

    async def make(self, progress: Progress, prepared: Prepared, request: ChatRequest) -> ChatReply:
        """One paid call as prepared, also where the provider is left alone: somebody wants to know how it is.

        Raises:
            SupersededError: the definition is not that any more; nothing was called.
        """
        async with self._limiter.place(progress, request) as place:
            return await self._make(progress, prepared, request, place, forced=True)

    async def _make(
        self, progress: Progress, prepared: Prepared, request: ChatRequest, place: Place, *, forced: bool = False
    ) -> ChatReply:
        async with self._slot(progress.claim.queue):
            await place.punctual()
            if self.draining or time.monotonic() > progress.deadline:
                raise YieldError
            self._check_current(prepared)  # waiting for a slot may have taken long
            async with self._circuits.call(prepared.entry, forced=forced) as is_probe:
                try:
                    return await self._on_the_books(progress, prepared, request, place)
                except CallError as error:
                    if is_probe and is_ill(error):  # as was to be expected
                        progress.uncount()
                    raise

    async def _on_the_books(
        self, progress: Progress, prepared: Prepared, request: ChatRequest, place: Place
    ) -> ChatReply:
        """Intent first, then the request, then what came of it into the progress."""
        progress.origin = prepared.origin(progress.model)
        priced = prepared.entry.provider.model_named(progress.model)
        most = most_usd(priced, request)
        start = CallStart(progress.claim.job_id, progress.claim.fence, progress.calls + 1, progress.origin, most)
        await self._begin(start)
        progress.begins(start.attempt)
        outcome, status, usage = "cancelled", None, NO_USAGE
        try:
            await place.come()
            self._check_current(prepared, place)  # Postgres may have taken long over the intent
            reply = await self._sent(prepared, progress.origin.model, request, place)
        except (SupersededError, YieldError):  # nothing was called
            progress.uncount()
            outcome = "superseded"
            raise
        except CallError as error:
            outcome, status, usage = error.error_type, error.status, Usage(error.input_tokens, error.output_tokens)
            raise
        else:
            outcome, status, usage = "succeeded", 200, reply.usage
            place.used = usage
            return reply
        finally:
            cost = cost_of(outcome, usage, priced, most)
            end = CallEnd(start.job_id, start.attempt, outcome, status, usage.input_tokens, usage.output_tokens, cost)
            progress.usage += usage
            progress.end(end, priced=most is not None)

    async def _begin(self, start: CallStart) -> None:
        """Enters the intent; whatever it raises, nothing was entered and nothing may be called."""
        verdict = await self._books.begin(start)
        if verdict == "lost":
            raise LeaseLostError
        if verdict == "wait":
            raise NoRoomError(start.cost_usd or 0.0)
        if verdict == "paused":
            raise YieldError

    async def _sent(self, prepared: Prepared, model: str, request: ChatRequest, place: Place) -> ChatReply:
        answer_head.set((0, {}))
        with await self.lease(prepared) as client:
            try:
                return await client.complete(model, request)
            finally:
                place.headers = answer_head.get()[1]

    def _slot(self, queue: str) -> AbstractAsyncContextManager[None]:
        """One of the calls in flight; batches leave a tenth of them to single jobs, which never queue behind them."""
        return self._bulk_slots if queue == BULK_QUEUE else self._slots

    async def lease(self, prepared: Prepared) -> AbstractContextManager[Adapter]:
        """A client, if the definition still stands; to be entered at once.

        Asked last of all: between this and the request nothing else runs, and a process that says that it holds a
        newer definition has dropped the older one on this loop before. So no call follows a change that was seen.
        A process that was frozen for long is shown no more, and nobody waits for it: it looks before it calls.

        Raises:
            SupersededError: it does not.
        """
        if self._registry.age_s > UNSEEN_S:
            await self._books.in_thread(self._registry.check)
        self._check_current(prepared)
        return self._clients.lease(prepared.entry, prepared.key)

    def _check_current(self, prepared: Prepared, place: Place | None = None) -> None:
        held = self._registry.held(prepared.entry.provider.id)
        late = place is not None and place.late
        if late or held is None or held.generation != prepared.entry.generation:
            raise SupersededError
