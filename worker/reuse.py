"""Results of earlier jobs that serve instead of a call, for jobs that asked for that."""

import logging

from pydantic import ValidationError

from jobs.chat import ChatRequest
from jobs.content import content_key, digest_of
from jobs.kind import Kind
from jobs.records import Wanted
from worker.caller import Caller
from worker.progress import Books, Progress

log = logging.getLogger(__name__)


async def earlier_result(
    caller: Caller, books: Books, progress: Progress, kind: Kind, request: ChatRequest
) -> str | None:
    """The output of a job that asked the same of the same model lately, as JSON; it goes into the progress as such.

    While Postgres is away this waits. Of two jobs that ask the same at the same time neither finds the other.

    Args:
        caller: knows the provider's default model.
        books: where results are.
        progress: of the job; keeps what is asked, so that others find its result.
        kind: of the job.
        request: what is asked.

    Raises:
        ProviderDisabledError, ServiceUnavailableError: the provider was removed, or cannot be looked up.
    """
    progress.digest = digest_of(kind.name, request)
    claim = progress.claim
    if not claim.reuse_s:
        return None
    model = progress.model or (await caller.resolve(progress.provider_id)).provider.default_model
    earlier = await books.earlier_result(Wanted(content_key(progress.digest, model), claim.reuse_s))
    if earlier is None:
        return None
    try:
        output = kind.output.model_validate_json(earlier.result)
    except ValidationError:  # an older version of the kind made it
        log.info("job %s: the result of job %s does not fit any more; it is asked anew", claim.job_id, earlier.job_id)
        return None
    progress.origin, progress.reused_from = earlier.origin, earlier.job_id
    return output.model_dump_json()
