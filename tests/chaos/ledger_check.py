"""Holds the ledger against what the provider received; pure, so that it can be shown to see each kind of damage."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

DONE = frozenset({"succeeded", "failed", "cancelled"})
IDENTITY = re.compile(r"JOB\[([\w-]+)\]")
"""How prompts and answers name the job that they belong to."""


@dataclass(frozen=True)
class JobRow:
    """A job of the ledger; ``ends`` counts how often it was given an end, by a trigger that nobody else sees."""

    identity: str
    state: str
    result: str | None = None
    error_type: str | None = None
    ends: int = 1


@dataclass(frozen=True)
class CallRow:
    """A call of the ledger; ``outcome`` None is still open."""

    identity: str
    attempt: int
    outcome: str | None


@dataclass(frozen=True)
class Request:
    """What the provider received; ``paid``: it made an answer, whether that arrived or not."""

    identity: str
    paid: bool = True


@dataclass
class Report:
    """What was found; ``paid_twice`` counts the answers beyond the first of each job."""

    jobs: int
    paid_twice: int
    failed: int
    findings: list[str] = field(default_factory=list)


def check(
    accepted: Collection[str],
    jobs: Sequence[JobRow],
    calls: Sequence[CallRow],
    requests: Sequence[Request],
    uncertain: Collection[str] = (),
    calls_a_job: int = 1,
) -> Report:
    """Looks for every way in which the promise could be broken.

    Args:
        accepted: identities of jobs whose submission returned.
        jobs: all of the ledger.
        calls: all of the ledger.
        requests: all that the provider received.
        uncertain: identities whose submission raised: the row may be there (the answer to its COMMIT was lost) or not.
        calls_a_job: most calls that a job needs when nothing fails, more than one for kinds that repair.
    """
    received, paid = Counter(r.identity for r in requests), Counter(r.identity for r in requests if r.paid)
    entered = Counter(call.identity for call in calls if call.outcome != "superseded")
    good = Counter(call.identity for call in calls if call.outcome == "succeeded")
    rows = Counter(job.identity for job in jobs)
    findings = [f"{name}: was accepted and is not in the ledger" for name in sorted(set(accepted) - set(rows))]
    findings += [f"{name}: {n} times in the ledger" for name, n in rows.items() if n > 1]
    findings += [f"{name}: nobody submitted it" for name in sorted(set(rows) - set(accepted) - set(uncertain))]
    findings += [found for job in jobs for found in _job(job, good[job.identity])]
    findings += [
        f"{name}: {n} requests were made, {entered[name]} calls are in the ledger"
        for name, n in received.items()
        if n > entered[name]
    ]
    findings += [f"{call.identity}: call {call.attempt} is still open" for call in calls if call.outcome is None]
    findings += [f"{name}: {n} calls of it succeeded" for name, n in good.items() if n > calls_a_job]
    return Report(
        len(jobs),
        sum(n - 1 for n in paid.values() if n > 1),
        sum(job.state == "failed" for job in jobs),
        findings,
    )


def _job(job: JobRow, good_calls: int) -> Iterator[str]:
    name = job.identity
    if job.state not in DONE:
        yield f"{name}: is {job.state} and has not ended"
    elif job.ends != 1:
        yield f"{name}: was given {job.ends} ends"
    if job.state == "failed" and not job.error_type:
        yield f"{name}: failed without a reason"
    if job.state == "succeeded":
        if set(IDENTITY.findall(job.result or "")) != {name}:
            yield f"{name}: its result is not its own"
        if not good_calls:
            yield f"{name}: has a result and no call that succeeded"
