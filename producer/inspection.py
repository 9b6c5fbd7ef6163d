"""What only a worker can find out about a provider, asked for as a job and waited for."""

from collections.abc import Iterable
from typing import Any

from config.errors import NoWorkerError
from config.presence import PresenceBoard
from config.providers import Model
from config.redis_names import INTERACTIVE_QUEUE
from config.settings import address_of
from jobs.kinds.check_provider import ProviderReport
from jobs.kinds.list_models import ModelList
from producer.producer import Producer


def check_provider(producer: Producer, provider_id: str, model: str | None, timeout_s: float) -> ProviderReport:
    """Has a worker try a provider.

    Args:
        producer: enqueues the job.
        provider_id: a provider, also a disabled one.
        model: which model to call; the default if None.
        timeout_s: patience.

    Raises:
        UnknownNameError: there is no such provider.
        NoWorkerError: there is nobody to ask.
        WaitTimeoutError: the worker did not come to it in time.
    """
    report = _ask(producer, "check_provider", provider_id, model, timeout_s)
    assert isinstance(report, ProviderReport)  # noqa: S101 - the kind's output
    return report


def list_models(producer: Producer, provider_id: str, timeout_s: float) -> tuple[Model, ...]:
    """The models that a provider's endpoint offers; raises like ``check_provider``, and JobFailedError."""
    listed = _ask(producer, "list_models", provider_id, None, timeout_s)
    assert isinstance(listed, ModelList)  # noqa: S101 - the kind's output
    return listed.models


def with_what_is_known(listed: Iterable[Model], known: Iterable[Model]) -> tuple[Model, ...]:
    """Listed models with what is known of them and lists do not say, such as prices."""
    by_id = {model.id: model.model_dump(exclude_none=True) for model in known}
    return tuple(
        Model.model_validate({**by_id.get(model.id, {}), **model.model_dump(exclude_none=True)}) for model in listed
    )


def _ask(producer: Producer, kind: str, provider_id: str, model: str | None, timeout_s: float) -> Any:
    producer.registry.resolve(provider_id)
    url = producer.settings.redis_url
    living = PresenceBoard(producer.redis, url).living()
    if not any(INTERACTIVE_QUEUE in worker.queues for worker in living):
        raise NoWorkerError("a worker", address_of(url))
    return producer.enqueue(kind, {}, provider=provider_id, model=model).result(timeout_s)
