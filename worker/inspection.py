"""Jobs that look at a provider itself: can it be used, and what models does it offer?"""

import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel

from config.errors import CallError, OutputTruncatedError, ProviderAuthError, ProviderRejectedError
from config.keys import ProviderKey
from config.registry import Entry
from jobs.chat import ChatReply, ChatRequest, Message
from jobs.kinds.check_provider import ProviderReport, Step
from jobs.kinds.list_models import ModelList
from worker.adapters import Adapter

TINY = ChatRequest((Message("user", "Answer with the word OK."),), max_output_tokens=16)

Value = TypeVar("Value")


@dataclass(frozen=True)
class Inspected:
    """A provider and the ways to use it, as a job has them.

    Args:
        entry: its definition.
        model: what a call would ask for.
        key: reads its key; None where it needs none.
        lease: a client for it, as long as the definition stands.
        call: one paid call, on the books.
    """

    entry: Entry
    model: str
    key: Callable[[], Awaitable[ProviderKey | None]]
    lease: Callable[[ProviderKey | None], AbstractAsyncContextManager[Adapter]]
    call: Callable[[ProviderKey | None, ChatRequest], Awaitable[ChatReply]]


@dataclass
class _Steps:
    """What has been tried so far."""

    done: list[Step] = field(default_factory=list)

    async def take(self, name: str, work: Awaitable[tuple[Value, str]]) -> Value | None:
        """Tries one thing that returns a value and words; None if it failed."""
        started = time.monotonic()
        value: Value | None = None
        ok = True
        try:
            value, detail = await work
        except CallError as error:
            ok, detail = False, str(error)
        duration_ms = round((time.monotonic() - started) * 1000)
        self.done.append(Step.model_validate({"step": name, "ok": ok, "detail": detail, "duration_ms": duration_ms}))
        return value


async def check_provider(inspected: Inspected) -> ProviderReport:
    """Reads the key, reaches the endpoint, lists its models, makes one tiny call; goes on as far as it makes sense."""
    steps = _Steps()
    found = await steps.take("key", _key(inspected))
    key = found[0] if found else None
    reached = await steps.take("reach", _reach(inspected, key))
    if found and reached and await steps.take("models", _models(inspected, key)):
        await steps.take("call", _call(inspected, key))
    provider_id, generation = inspected.entry.provider.id, inspected.entry.generation
    ok = all(step.ok for step in steps.done)
    return ProviderReport(provider_id=provider_id, generation=generation, ok=ok, steps=tuple(steps.done))


async def list_models(inspected: Inspected) -> ModelList:
    """What the endpoint lists."""
    async with inspected.lease(await inspected.key()) as client:
        return ModelList(models=await client.models())


INSPECTIONS: dict[str, Callable[[Inspected], Awaitable[BaseModel]]] = {
    "check_provider": check_provider,
    "list_models": list_models,
}
"""By kind."""


async def _key(inspected: Inspected) -> tuple[tuple[ProviderKey | None], str]:
    key = await inspected.key()
    return (key,), f"version {key.version}" if key else "none is stored, and on this machine none is needed"


async def _reach(inspected: Inspected, key: ProviderKey | None) -> tuple[bool, str]:
    async with inspected.lease(key) as client:
        status = await client.reach()
    return True, f"{urlsplit(inspected.entry.provider.base_url).netloc} answers ({status})"


async def _models(inspected: Inspected, key: ProviderKey | None) -> tuple[bool, str]:
    """A list is not needed to work, a key that is refused is."""
    try:
        async with inspected.lease(key) as client:
            listed = {model.id for model in await client.models()}
    except ProviderAuthError as error:
        raise ProviderAuthError(error.provider_id, f"the key is refused: {error}", error.status) from None
    except ProviderRejectedError as error:
        if error.status == 403:
            raise
        return True, f"the endpoint lists none ({error})"
    among = "is among them" if inspected.model in listed else "is not among them"
    return True, f"{len(listed)} listed; {inspected.model} {among}"


async def _call(inspected: Inspected, key: ProviderKey | None) -> tuple[bool, str]:
    try:
        usage = (await inspected.call(key, TINY)).usage
        used = usage.input_tokens, usage.output_tokens
    except OutputTruncatedError as error:  # a model that thinks first; it answers
        used = error.input_tokens, error.output_tokens
    return True, f"{inspected.model} answered ({used[0]} tokens in, {used[1]} out)"
