"""One job from its claim to its end: provider, key, client, intent, call, answer, settlement."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from pydantic import BaseModel, ValidationError

from config.egress import is_local_url
from config.errors import (
    CallError,
    InputUnreadableError,
    InternalError,
    InvalidOutputError,
    KeyMissingError,
    KeyUnavailableError,
    ProviderDisabledError,
    ServiceUnavailableError,
    UnknownNameError,
)
from config.keys import KeySource, ProviderKey
from config.providers import Provider
from config.registry import Entry, Registry
from jobs.chat import ChatReply, ChatRequest, Usage
from jobs.kind import Kind, describe
from jobs.kinds import kind_named
from jobs.records import CallEnd, CallStart, Claim, Origin, Release, Settlement
from worker.adapters import Adapter
from worker.clients import ClientCache
from worker.inspection import INSPECTIONS, Inspected
from worker.progress import Books, Progress
from worker.retry import Retry, RetryPolicy, decide
from worker.structured import parse_output, repair_request

log = logging.getLogger(__name__)

SERVICE_WAIT_S = 2.0
"""How long a job waits in the queue when Vault or the registry cannot be asked; that is no failed attempt."""

UNSEEN_S = 8.0
"""A process silent for ten seconds (``config.presence.TTL_S``) is passed over by those who wait for a change."""


class _LeaseLostError(Exception):
    """The job is no longer ours: nothing may be called or settled for it."""


class _SupersededError(Exception):
    """The provider was changed while the call was being prepared: it is prepared anew."""


class _YieldError(Exception):
    """The slice's time is up or the process stops: the job goes back before its next call."""


class JobRunner:
    """Runs jobs to their end, or puts them back.

    Args:
        registry: resolves provider ids.
        keys: gives their keys.
        clients: gives their clients.
        books: where intents and ends are written.
        load: loads what the client of a provider needs; may take its time.
        policy: how often a call is repeated.
        calls_in_flight: most calls at once in this process.
    """

    def __init__(
        self,
        registry: Registry,
        keys: KeySource,
        clients: ClientCache,
        books: Books,
        load: Callable[[Provider], object],
        policy: RetryPolicy,
        calls_in_flight: int,
    ) -> None:
        self._registry, self._keys, self._clients, self._books = registry, keys, clients, books
        self._load, self._loaded, self._policy = load, set[str](), policy
        self._slots = asyncio.Semaphore(calls_in_flight)
        self.draining = False

    async def run(self, claim: Claim, deadline: float) -> Settlement | Release | None:
        """Runs one job; when it returns, the job is settled, put back, or (None) no longer ours.

        Args:
            claim: the job.
            deadline: ``time.monotonic()`` after which no further call is begun; what is not done then goes back.
        """
        progress = Progress(claim, deadline, claim.attempts)
        try:
            end = await self._outcome(progress)
        except _LeaseLostError:
            end = None
        except Exception:
            log.exception("job %s met a fault of ours", claim.job_id)
            end = progress.settlement("failed", error=_fault(claim))
        except asyncio.CancelledError:
            await asyncio.shield(self._books.record(*progress.ended, progress.release()))
            raise
        kept = end is not None and await self._books.record(*progress.ended, end)
        if not kept:
            log.warning("job %s was taken over by another worker; what this one did is dropped", claim.job_id)
            return None
        return end

    async def _outcome(self, progress: Progress) -> Settlement | Release:
        """Attempts until one succeeds or nothing more can help; never raises for what a provider or a job does."""
        fresh_key = False
        while True:
            try:
                return progress.settlement("succeeded", await self._attempt(progress, fresh_key))
            except _SupersededError:
                continue
            except _YieldError:
                return progress.release()
            except (KeyUnavailableError, ServiceUnavailableError):
                return progress.release(SERVICE_WAIT_S)
            except CallError as error:
                decision = decide(
                    error,
                    progress.attempt,
                    self._policy,
                    random.random(),  # noqa: S311 - jitter, no secret
                    key_was_fresh=fresh_key,
                )
                if not isinstance(decision, Retry):
                    return progress.settlement("failed", error=error)
                if time.monotonic() + decision.wait_s > progress.deadline:
                    return progress.release(decision.wait_s)
                fresh_key = decision.fresh_key
                await self._wait(progress, decision.wait_s)

    async def _wait(self, progress: Progress, wait_s: float) -> None:
        """Shows what has happened so far before a pause that may be long."""
        ended, progress.ended = progress.ended, []
        if ended:
            await self._books.record(*ended)
        await asyncio.sleep(wait_s)

    async def _attempt(self, progress: Progress, fresh_key: bool) -> str:
        """One attempt, from the provider's id to the kind's output as JSON."""
        claim = progress.claim
        inspect = INSPECTIONS.get(claim.kind)
        entry = await self._resolve(claim.provider_id, disabled=inspect is not None)
        await self._load_once(entry.provider)
        if inspect:
            return (await inspect(self._inspected(progress, entry))).model_dump_json()
        key = await self._key(entry.provider, fresh_key)
        kind, request = _asked(claim)
        reply = await self._call(progress, entry, key, request)
        if request.json_schema is None:
            return _plain(kind, reply.text, claim.provider_id)
        try:
            output: BaseModel = parse_output(reply.text, kind.output, claim.provider_id)
        except InvalidOutputError as problem:
            repaired = await self._call(progress, entry, key, repair_request(request, reply.text, str(problem)))
            output = parse_output(repaired.text, kind.output, claim.provider_id)
        return output.model_dump_json()

    def _inspected(self, progress: Progress, entry: Entry) -> Inspected:
        model = progress.claim.model or entry.provider.default_model

        async def key() -> ProviderKey | None:
            found = await self._key(entry.provider, fresh=True)
            progress.origin = Origin(entry.provider.id, entry.generation, found.version if found else None, model)
            return found

        progress.origin = Origin(entry.provider.id, entry.generation, None, model)
        return Inspected(entry, model, key, partial(self._lease, entry), partial(self._call, progress, entry))

    async def _resolve(self, provider_id: str, *, disabled: bool = False) -> Entry:
        entry = self._registry.held(provider_id)
        if entry is None:
            try:
                entry = await self._books.in_thread(lambda: self._registry.resolve(provider_id))
            except UnknownNameError:
                raise ProviderDisabledError(provider_id, f"provider {provider_id} has been removed") from None
        if not entry.provider.enabled and not disabled:
            raise ProviderDisabledError(provider_id, f"provider {provider_id} is disabled")
        return entry

    async def _load_once(self, provider: Provider) -> None:
        if provider.type not in self._loaded:
            await self._books.in_thread(lambda: self._load(provider))
            self._loaded.add(provider.type)

    async def _key(self, provider: Provider, fresh: bool) -> ProviderKey | None:
        """The provider's key; one on this machine may do without."""
        try:
            held = None if fresh else self._keys.held(provider.id)
            return held or await self._books.in_thread(lambda: self._keys.get(provider.id, fresh=fresh))
        except KeyMissingError:
            if is_local_url(provider.base_url):
                return None
            raise

    @asynccontextmanager
    async def _lease(self, entry: Entry, key: ProviderKey | None) -> AsyncIterator[Adapter]:
        """A client, if the definition still stands.

        Asked last of all: between this and the request nothing else runs, and a process that says that it holds a
        newer definition has dropped the older one on this loop before. So no call follows a change that was seen.

        A process that was frozen for long is shown no more and nobody waits for it: it looks before it calls."""
        if self._registry.age_s > UNSEEN_S:
            await self._books.in_thread(self._registry.check)
        held = self._registry.held(entry.provider.id)
        if held is None or held.generation != entry.generation:
            raise _SupersededError
        with self._clients.lease(entry, key) as client:
            yield client

    async def _call(self, progress: Progress, entry: Entry, key: ProviderKey | None, request: ChatRequest) -> ChatReply:
        """One paid call: intent first, then the request, then what came of it into the progress."""
        async with self._slots:
            if self.draining or time.monotonic() > progress.deadline:
                raise _YieldError
            attempt = progress.calls + 1
            model = progress.claim.model or entry.provider.default_model
            progress.origin = Origin(entry.provider.id, entry.generation, key.version if key else None, model)
            start = CallStart(progress.claim.job_id, progress.claim.fence, attempt, progress.origin)
            if not await self._books.begin(start):
                raise _LeaseLostError
            progress.calls = attempt
            end = CallEnd(progress.claim.job_id, attempt, "cancelled")
            try:
                async with self._lease(entry, key) as client:
                    reply = await client.complete(model, request)
            except _SupersededError:
                end = CallEnd(progress.claim.job_id, attempt, "superseded")
                raise
            except CallError as error:
                tokens = error.input_tokens, error.output_tokens
                progress.usage += Usage(*tokens)
                end = CallEnd(progress.claim.job_id, attempt, error.error_type, error.status, *tokens)
                raise
            else:
                usage = reply.usage
                progress.usage += usage
                end = CallEnd(progress.claim.job_id, attempt, "succeeded", 200, usage.input_tokens, usage.output_tokens)
                return reply
            finally:
                progress.ended.append(end)


def _fault(claim: Claim) -> InternalError:
    return InternalError(claim.provider_id, "a fault of ours; the worker's log has the details")


def _plain(kind: Kind, text: str, provider_id: str) -> str:
    try:
        return kind.output.model_validate({"text": text}).model_dump_json()
    except ValidationError as error:
        raise InvalidOutputError(provider_id, describe(error)) from None


def _asked(claim: Claim) -> tuple[Kind, ChatRequest]:
    """The kind and the request; an input that an older version accepted and this one cannot read is a final error."""
    try:
        kind = kind_named(claim.kind)
        return kind, kind.request_of(claim.input)
    except UnknownNameError as error:
        raise InputUnreadableError(claim.provider_id, str(error)) from None
    except ValidationError as error:
        raise InputUnreadableError(claim.provider_id, describe(error)) from None
