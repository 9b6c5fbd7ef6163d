"""The producer: other programs' way to enqueue jobs and to wait for what comes of them."""

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, get_args
from uuid import UUID

from config.errors import ConflictError, InvalidInputError, ServiceUnavailableError, UsageError
from config.redis_names import INTERACTIVE_QUEUE, WRITE_PROBE
from jobs.hints import Hint
from jobs.terms import Target, Terms, check_name
from producer.handles import BatchHandle, JobHandle
from producer.loading import loading

if TYPE_CHECKING:
    from pydantic import BaseModel

    from config.settings import Settings
    from jobs.dispatch import Dispatcher
    from jobs.kind import NewJob
    from jobs.selection import Selection

log = logging.getLogger(__name__)

REGISTRY_MAX_AGE_S = 2.0
MAX_REUSE_S = 10 * 365 * 86_400.0
MOST_CAP_USD = 1e9

WhenDown = Literal["wait", "fail"]


class Producer:
    """Enqueues jobs and reads results; open it once and use it from any thread.

    Nothing is enqueued while Redis or Postgres is away or full: the call raises ServiceUnavailableError, naming which.
    Once a call has returned, the job is in the ledger and will end, whatever becomes of Redis.

    Args:
        settings: where the services are.
    """

    def __init__(self, settings: "Settings") -> None:
        with loading():  # what takes its time: a program that imports this and enqueues nothing does not wait for it
            from config.database import Database
            from config.provider_store import ProviderStore
            from config.redis_link import Patience, connect_impatient, connect_listener
            from config.registry import Registry
            from config.registry_cache import RedisCache
            from jobs.bell import Bell
            from jobs.kinds import kind_named
            from jobs.ledger import Ledger

        self.settings = settings
        self._kind_named = kind_named
        self.database = Database(settings.database_url, "ticketflow-producer")
        self.redis = connect_impatient(settings.redis_url)
        self._patience = Patience(settings.redis_url)
        self.ledger = Ledger(self.database)
        self._listener = connect_listener(settings.redis_url)
        self._bell = Bell(self._listener)
        cache = RedisCache(self.redis, settings.redis_url, self._patience)
        self.providers = ProviderStore(self.database, cache, settings.egress)
        self.registry = Registry(self.providers, cache)
        self._dispatcher: Dispatcher | None = None

    @classmethod
    def from_env(cls) -> Self:
        """A producer with the settings of this process.

        Raises:
            SettingsError: with every setting that is wrong.
        """
        with loading():
            from config.settings import load_settings

        return cls(load_settings())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes every connection; harmless when repeated."""
        if self._dispatcher is not None:
            self._dispatcher.close()
        self.database.close()
        self.redis.close()
        self._listener.close()

    def enqueue(
        self,
        kind: str,
        data: "BaseModel | dict[str, Any]",
        *,
        provider: str,
        model: str | None = None,
        custom_id: str | None = None,
        idempotency_key: str | None = None,
        reuse_s: float | None = None,
        supersede_key: str | None = None,
        revision: int | None = None,
        fallbacks: Sequence[str] = (),
        when_down: WhenDown = "wait",
    ) -> JobHandle:
        """Accepts one job and asks a worker to run it now, unless it is there already or of an older revision.

        Args:
            kind: name of the job kind.
            data: its input, as the kind's model or as a plain dictionary.
            provider: id of the provider that is to answer.
            model: a model of that provider; its default if None.
            custom_id: the caller's own name for the job; the input's ``id`` if None.
            idempotency_key: asked again under it, the first job is the answer, and nothing is enqueued twice.
            reuse_s: how old a result may be, in seconds, that serves instead of a call: that of a job that asked the
                same of the same model. None makes the call.
            supersede_key: what this is a revision of, such as a ticket's id. A newer revision drops older jobs of the
                same kind that wait, and marks those that run as stale.
            revision: a number that grows; the same one again is answered with the job that is there.
            fallbacks: ids of providers to ask, in order and with their default models, if the first cannot answer.
            when_down: what to do while the provider (and each fallback) is known to be failing and is left alone:
                ``wait`` until one is back, or ``fail`` at once with ProviderUnavailableError.

        Raises:
            InvalidInputError: the input does not fit the kind, a provider is named twice, or another value cannot be.
            UnknownNameError: no such kind or provider.
            ConflictError: the provider is disabled, or the idempotency key belongs to a job that asks something else.
            ServiceUnavailableError: Redis or Postgres is away; nothing was enqueued.
        """
        terms = Terms(idempotency_key, supersede_key, revision)
        target = self._target(kind, provider, model, reuse_s, fallbacks, when_down)
        job = self._kind_named(kind).accept(data, custom_id)
        self._broker_is_there()
        accepted = self.ledger.accept_on(target, job, terms)
        if accepted.waits:
            self._send(lambda: self._dispatch().send(Hint(provider, INTERACTIVE_QUEUE, (accepted.job_id,))))
        return JobHandle(self.ledger, self._bell, str(accepted.job_id), kind, is_new=accepted.is_new)

    def submit_batch(
        self,
        kind: str,
        inputs: "Iterable[NewJob]",
        *,
        provider: str,
        model: str | None = None,
        name: str | None = None,
        reuse_s: float | None = None,
        max_cost_usd: float | None = None,
        fallbacks: Sequence[str] = (),
    ) -> BatchHandle:
        """Accepts a batch, all of it or nothing, and asks workers to begin.

        Args:
            kind: name of the job kind.
            inputs: valid inputs, read to their end before anything is written, so they may come slowly; see
                ``jobs.kind.Kind.accept``. If it raises, nothing is enqueued.
            provider: id of the provider that is to answer.
            model: a model of that provider; its default if None.
            name: of the batch. Submitted again with the same inputs, under the same name, it is the same batch, and
                nothing is enqueued twice.
            reuse_s: as ``enqueue``, for each of its jobs.
            max_cost_usd: a cap in USD: before a call that might pass it the batch pauses, until ``resume_batch`` gives
                it more. Calls count with what they cost; in flight, lost or cut off, with the most they can.
            fallbacks: as ``enqueue``; without them a batch waits for a provider that is left alone.

        Raises:
            UnknownNameError, ConflictError, ServiceUnavailableError: as ``enqueue``.
            ConflictError: the name belongs to a batch of other inputs, or there is a cap and no known price.
            UsageError: the cap is no amount of money, or the inputs do not fit into the folder for temporary files.
        """
        check_name("name", name)
        target = self._target(kind, provider, model, reuse_s, fallbacks)
        if max_cost_usd is not None:
            self._check_cap(target, max_cost_usd)
        self._broker_is_there()
        batch_id, is_new = self.ledger.accept_batch(target, inputs, name, max_cost_usd)
        if is_new:
            self._send(lambda: self._dispatch().start_batch(batch_id))
        return BatchHandle(self.ledger, str(batch_id), is_new=is_new)

    def resume_batch(self, batch_id: str, max_cost_usd: float | None = None) -> bool:
        """Lets a paused batch go on; False if it has ended.

        Args:
            batch_id: which.
            max_cost_usd: its cap from now on, all that it has cost counted; None leaves it as it is.

        Raises:
            UnknownNameError: there is no such batch.
            ConflictError: it has spent what it may, or no price is known that could be held against its cap.
            UsageError: the cap is no amount of money.
        """
        batch = self.ledger.batch(batch_id)
        cap_usd = batch.max_cost_usd if max_cost_usd is None else max_cost_usd
        if cap_usd is not None and not batch.done:
            self.registry.check(REGISTRY_MAX_AGE_S)
            self._check_cap(Target(batch.kind, batch.provider_id, batch.model), cap_usd)
        self._broker_is_there()
        resumed = self.ledger.resume(batch_id, max_cost_usd)
        if resumed:
            self._send(lambda: self._dispatch().start_batch(UUID(batch_id)))
        return resumed

    def rerun(self, selection: "Selection") -> int:
        """Runs the jobs of a selection that have ended once more, in their batches; returns how many.

        Their results are taken back; what they cost stays counted.

        Args:
            selection: which, such as all that went through a provider at a generation.
        """
        from jobs.selection import SelectedJobs

        total, batches = 0, set[UUID]()
        self._broker_is_there()
        for hints, some_batches, count in SelectedJobs(self.database, selection).rerun(self.settings.slice_jobs):
            total += count
            batches |= some_batches
            self._send(lambda h=hints: self._dispatch().send_all(h))  # type: ignore[misc]
        for batch_id in sorted(batches):
            self._send(lambda b=batch_id: self._dispatch().start_batch(b))  # type: ignore[misc]
        return total

    def job(self, job_id: str) -> JobHandle:
        """A handle on a job that was accepted earlier; raises UnknownNameError if there is none."""
        return JobHandle(self.ledger, self._bell, job_id, self.ledger.job(job_id).kind, is_new=False)

    def batch(self, batch_id: str) -> BatchHandle:
        """A handle on a batch that was accepted earlier; raises UnknownNameError if there is none."""
        return BatchHandle(self.ledger, self.ledger.batch(batch_id).batch_id)

    def _target(
        self,
        kind: str,
        provider: str,
        model: str | None,
        reuse_s: float | None,
        fallbacks: Sequence[str],
        when_down: str = "wait",
    ) -> Target:
        asks_a_model = self._kind_named(kind).request is not None
        chain = (provider, *fallbacks)
        if len(set(chain)) < len(chain):
            raise InvalidInputError(((0, "fallbacks: a provider is named twice"),))
        if when_down not in get_args(WhenDown):
            raise InvalidInputError(((0, f"when_down: one of {', '.join(get_args(WhenDown))}"),))
        if fallbacks and not asks_a_model:
            raise InvalidInputError(((0, f"fallbacks: {kind} looks at one provider, no other can answer for it"),))
        self.registry.check(REGISTRY_MAX_AGE_S)
        for provider_id in chain:
            if not self.registry.resolve(provider_id).provider.enabled and asks_a_model:
                raise ConflictError(f"provider {provider_id} is disabled")
        check_name("model", model)
        if reuse_s is not None and not 0 < reuse_s <= MAX_REUSE_S:
            raise InvalidInputError(((0, f"reuse_s: more than 0 and at most {MAX_REUSE_S:.0f} seconds"),))
        if reuse_s is not None and not asks_a_model:
            raise InvalidInputError(((0, f"reuse_s: jobs of kind {kind} look for themselves, each time"),))
        return Target(kind, provider, model, reuse_s, tuple(fallbacks), when_down == "fail")

    def _check_cap(self, target: Target, cap_usd: float) -> None:
        """Whether calls can be held against a cap."""
        from jobs.cost import cost_usd

        if not (math.isfinite(cap_usd) and 0 < cap_usd <= MOST_CAP_USD):
            raise UsageError(f"a cap on cost is an amount of USD, more than 0 and at most {MOST_CAP_USD:,.0f}")
        if self._kind_named(target.kind).request is None:
            raise ConflictError(f"jobs of the kind {target.kind} have no cost that could be capped")
        models = {target.provider_id: target.model, **dict.fromkeys(target.fallbacks)}
        for provider_id, model in models.items():
            provider = self.registry.resolve(provider_id).provider
            if cost_usd(provider.model_named(model), 0, 0) is None:
                raise ConflictError(
                    f"no price of {model or provider.default_model} is known, so its cost cannot be capped: state "
                    f"input_usd_per_million and output_usd_per_million with the models of {provider.id}, by "
                    "`ticketflow providers export` and `import`"
                )

    def _broker_is_there(self) -> None:
        """Asked before anything is written, so that a caller who gets an error has enqueued nothing.

        A Redis at its memory limit, without a disk or demoted to a replica answers a ping all the same; this write it
        refuses, and where it does not, nothing is written and no key is made.
        """
        with self._patience.errors():
            self.redis.setrange(WRITE_PROBE, 0, "")

    def _dispatch(self) -> "Dispatcher":
        if self._dispatcher is None:
            from config.broker import make_sending_app  # Celery takes 0.1 s to load, and reading results needs none
            from jobs.dispatch import Dispatcher

            self._dispatcher = Dispatcher(make_sending_app(self.settings), self.ledger, self.settings)
        return self._dispatcher

    def _send(self, send: Callable[[], object]) -> None:
        """Sends hints for what is already accepted: if the broker went away just now, a worker's sweeper sends them."""
        try:
            with self._patience.errors():
                send()
        except ServiceUnavailableError as error:
            log.warning("accepted, but the message was not sent (%s); a worker will send it", error)
