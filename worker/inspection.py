"""Jobs that look at a provider itself: can it be used, and what models does it offer?"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel

from config.errors import CallError, OutputTruncatedError, ProviderAuthError, ProviderRejectedError
from config.registry import Entry
from jobs.chat import ChatRequest, Message
from jobs.kinds.check_provider import ProviderReport, Step
from jobs.kinds.list_models import ModelList
from worker.caller import Caller, Prepared
from worker.progress import Progress

TINY = ChatRequest((Message("user", "Answer with the word OK."),), max_output_tokens=16)

Value = TypeVar("Value")


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


async def check_provider(caller: Caller, progress: Progress) -> ProviderReport:
    """Reads the key, reaches the endpoint, lists its models, makes one tiny call; goes on as far as it makes sense."""
    steps = _Steps()
    entry = await caller.resolve(progress.claim.provider_id)
    prepared = await steps.take("key", _key(caller, entry))
    reached = await steps.take("reach", _reach(caller, prepared or Prepared(entry, None)))
    progress.origin = (prepared or Prepared(entry, None)).origin(progress.claim.model)
    if prepared and reached and await steps.take("models", _models(caller, prepared, progress.origin.model)):
        await steps.take("call", _call(caller, prepared, progress))
    ok = all(step.ok for step in steps.done)
    return ProviderReport(provider_id=entry.provider.id, generation=entry.generation, ok=ok, steps=tuple(steps.done))


async def list_models(caller: Caller, progress: Progress) -> ModelList:
    """What the endpoint lists."""
    entry = await caller.resolve(progress.claim.provider_id)
    prepared = Prepared(entry, await caller.key(entry.provider, fresh=True))
    progress.origin = prepared.origin(progress.claim.model)
    with await caller.lease(prepared) as client:
        return ModelList(models=await client.models())


INSPECTIONS: dict[str, Callable[[Caller, Progress], Awaitable[BaseModel]]] = {
    "check_provider": check_provider,
    "list_models": list_models,
}
"""By kind; a disabled provider may be looked at too."""


async def _key(caller: Caller, entry: Entry) -> tuple[Prepared, str]:
    key = await caller.key(entry.provider, fresh=True)
    words = f"version {key.version}" if key else "none is stored, and on this machine none is needed"
    return Prepared(entry, key), words


async def _reach(caller: Caller, prepared: Prepared) -> tuple[bool, str]:
    with await caller.lease(prepared) as client:
        status = await client.reach()
    return True, f"{urlsplit(prepared.entry.provider.base_url).netloc} answers ({status})"


async def _models(caller: Caller, prepared: Prepared, model: str) -> tuple[bool, str]:
    """A list is not needed to work, a key that is refused is."""
    try:
        with await caller.lease(prepared) as client:
            listed = {listed.id for listed in await client.models()}
    except ProviderAuthError as error:
        provider_id = error.provider_id
        wanted = f"it wants a key: run `ticketflow providers set-key {provider_id}`"
        words = f"the key is refused: {error}" if prepared.key else wanted
        raise ProviderAuthError(provider_id, words, error.status) from None
    except ProviderRejectedError as error:
        if error.status == 403:
            raise
        return True, f"the endpoint lists none ({error})"
    among = "is among them" if model in listed else "is not among them"
    return True, f"{len(listed)} listed; {model} {among}"


async def _call(caller: Caller, prepared: Prepared, progress: Progress) -> tuple[bool, str]:
    model = prepared.origin(progress.claim.model).model
    try:
        usage = (await caller.make(progress, prepared, TINY)).usage
        used = usage.input_tokens, usage.output_tokens
    except OutputTruncatedError as error:  # a model that thinks first; it answers
        used = error.input_tokens, error.output_tokens
    return True, f"{model} answered ({used[0]} tokens in, {used[1]} out)"
