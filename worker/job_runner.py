"""One job from its claim to its end: the kind's request, attempts, one repair, the settlement."""

import asyncio
import logging
import random
import time
from uuid import UUID

from pydantic import ValidationError

from config.errors import (
    CallError,
    InputUnreadableError,
    InternalError,
    InvalidOutputError,
    KeyUnavailableError,
    ProviderRateLimitedError,
    ProviderUnavailableError,
    ServiceUnavailableError,
    UnknownNameError,
)
from config.redis_names import INTERACTIVE_QUEUE
from jobs.chat import ChatRequest
from jobs.kind import Kind, describe
from jobs.kinds import KINDS, kind_named
from jobs.records import Claim, Release, Settlement
from worker.caller import Caller, LeaseLostError, SupersededError
from worker.fallback import moves_on
from worker.inspection import INSPECTIONS
from worker.progress import Books, Progress, YieldError
from worker.retry import GiveUp, Retry, RetryPolicy, decide, policy_for
from worker.reuse import earlier_result
from worker.structured import parse_output, repair_request

log = logging.getLogger(__name__)

SERVICE_WAIT_S = 2.0
"""How long a job waits in the queue when Vault or the registry cannot be asked; that is no failed attempt."""


AT_ONCE = Retry(0.0)


class JobRunner:
    """Runs jobs to their end, or puts them back.

    Args:
        caller: makes the calls.
        books: where ends are written.
        policy: how often a call is repeated, unless the kind or the provider says less.
    """

    def __init__(self, caller: Caller, books: Books, policy: RetryPolicy) -> None:
        self._caller, self._books, self._policy = caller, books, policy
        self._under_way: dict[UUID, Progress] = {}

    def may_stop(self, job_id: UUID) -> bool:
        """Whether the job may now be ended by cancelling its task: once, and not while its end is being written."""
        progress = self._under_way.get(job_id)
        if progress is None or progress.stopped:
            return False
        progress.stopped = True
        return True

    def yield_soon(self, job_id: UUID) -> None:
        """Has the job go back before its next call."""
        if job_id in self._under_way:
            self._under_way[job_id].deadline = float("-inf")

    async def run(self, claim: Claim, deadline: float) -> Settlement | Release | None:
        """Runs one job; when it returns, the job is settled, put back, or (None) no longer ours.

        Args:
            claim: the job.
            deadline: ``time.monotonic()`` after which no further call is begun; what is not done then goes back.
        """
        progress = Progress.of(claim, deadline)
        self._under_way[claim.job_id] = progress
        try:
            end = await self._outcome(progress)
        except LeaseLostError:
            end = None
        except Exception:
            log.exception("job %s met a fault of ours", claim.job_id)
            end = progress.settlement("failed", error=_fault(claim))
        except asyncio.CancelledError:
            if not progress.stopped:
                await asyncio.shield(self._books.record(*progress.ended, progress.release()))
                raise
            end = progress.settlement("cancelled")
        finally:
            if self._under_way.get(claim.job_id) is progress:  # it may have been claimed anew here meanwhile
                del self._under_way[claim.job_id]
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
            except SupersededError:  # a look at a provider that was changed meanwhile begins again
                continue
            except YieldError as early:
                if not _leaves_the_line(progress, early):
                    return progress.release(early.wait_s)
                step: Retry | Release | Settlement = AT_ONCE
            except (KeyUnavailableError, ServiceUnavailableError):
                return progress.release(SERVICE_WAIT_S)
            except CallError as error:
                step = self._after(progress, error, fresh_key)
            if not isinstance(step, Retry):
                return step
            fresh_key = step.fresh_key
            await self._wait(progress, step.wait_s)

    def _after(self, progress: Progress, error: CallError, fresh_key: bool) -> Retry | Release | Settlement:
        """What follows a failed attempt: another one, here or at the next provider, the queue, or the end."""
        decision = self._decided(progress, error, fresh_key)
        if progress.has_fallback and moves_on(error, decision, is_urgent=_is_urgent(progress)):
            progress.move_on(error)
            return AT_ONCE
        if not isinstance(decision, Retry):
            return progress.settlement("failed", error=error)
        if error.retry_after_s is None:
            progress.pauses()
        return progress.release(decision.wait_s) if _goes_back(progress, error, decision) else decision

    def _decided(self, progress: Progress, error: CallError, fresh_key: bool) -> Retry | GiveUp:
        """What the retry policy says."""
        kind, provider = KINDS.get(progress.claim.kind), self._caller.definition(progress.provider_id)
        return decide(
            error,
            progress.attempt,
            policy_for(self._policy, kind, provider, is_urgent=_is_urgent(progress)),
            random.random(),  # noqa: S311 - jitter, no secret
            waited_s=progress.waited_s,
            tried_s=progress.tried_s,
            key_was_fresh=fresh_key,
            fail_fast=progress.claim.fail_fast,
        )

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
        if inspect:
            return (await inspect(self._caller, progress)).model_dump_json()
        kind, request = _asked(claim)
        earlier = await earlier_result(self._caller, self._books, progress, kind, request)
        if earlier is not None:
            return earlier
        reply = await self._caller.call(progress, request, fresh_key=fresh_key)
        if request.json_schema is None:
            return _plain(kind, reply.text, progress.provider_id)
        try:
            return _parsed(progress, kind, reply.text)
        except InvalidOutputError as problem:
            repaired = await self._caller.call(progress, repair_request(request, reply.text, str(problem)))
            return _parsed(progress, kind, repaired.text)


def _is_urgent(progress: Progress) -> bool:
    return progress.claim.queue == INTERACTIVE_QUEUE


def _leaves_the_line(progress: Progress, early: YieldError) -> bool:
    """A single job whose turn at a provider is far off goes to its next one; a batch waits for its turn."""
    if not (early.wait_s and progress.has_fallback and _is_urgent(progress)):
        return False
    provider_id = progress.provider_id
    words = f"{provider_id} has no turn for this job within {early.wait_s:.0f} s"
    progress.move_on(ProviderRateLimitedError(provider_id, words, None, early.wait_s))
    return True


def _goes_back(progress: Progress, error: CallError, decision: Retry) -> bool:
    """Whether a job waits in the queue rather than here.

    One whose providers are all left alone does, however short the wait: hundreds of them would take the place of jobs
    for other providers. Whichever is back first will be asked.
    """
    if isinstance(error, ProviderUnavailableError):
        progress.begin_again()
        return True
    return time.monotonic() + decision.wait_s > progress.deadline


def _fault(claim: Claim) -> InternalError:
    return InternalError(claim.provider_id, "a fault of ours; the worker's log has the details")


def _parsed(progress: Progress, kind: Kind, text: str) -> str:
    """The output as JSON; a call whose answer is of no use ends as such, so that what was paid in vain is counted."""
    try:
        return parse_output(text, kind.output, progress.provider_id).model_dump_json()
    except InvalidOutputError:
        progress.answer_is_invalid()
        raise


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
