"""``ticketflow jobs retry`` and ``jobs purge``: what failed runs again, what is old goes."""

from typing import TYPE_CHECKING, Annotated

import typer

from producer.commands.output import AsJson, confirm, emit

if TYPE_CHECKING:
    from jobs.purge import Purged

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def register(jobs: typer.Typer) -> None:
    """Adds the commands to ``ticketflow jobs``."""
    jobs.command()(retry)
    jobs.command()(purge)


def retry(job_ids: Annotated[list[str], typer.Argument(metavar="JOB_ID...")], as_json: AsJson = False) -> None:
    """Run failed jobs again, with a new budget of attempts; all of them, or none if one has not failed."""
    from jobs.selection import failed_jobs
    from producer import Producer

    with Producer.from_env() as producer:
        total = producer.rerun(failed_jobs(producer.ledger, job_ids))
    emit(as_json, {"queued": total}, lambda: print(f"queued {total} jobs again"))


def purge(
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="TIME", help="Ended longer ago than this, such as 90d or 12h.")
    ],
    state: Annotated[
        str | None,
        typer.Option("--state", help="Only succeeded, failed or cancelled ones, of a batch as a whole; with commas."),
    ] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Remove single jobs and whole batches that ended long ago.

    Inputs, results and calls go with them, and so does what they cost: reports of spend over that time will lack it. A
    batch goes with all of its jobs or not at all. Workers go on meanwhile. Broken off, it has removed some, all whole.
    """
    from config.durations import duration_s
    from jobs.purge import OldWork, Purged
    from producer import Producer

    age_s, states = duration_s(older_than), _ended(state)
    with Producer.from_env() as producer:
        old = OldWork(producer.database, age_s, states)
        counts = old.counts()
        if counts.jobs or counts.batches:
            confirm(f"remove {_words(counts)} for good?", yes)
        removed = sum(old.purge(), Purged())
    document = {"jobs": removed.jobs, "batches": removed.batches}
    emit(as_json, document, lambda: print(f"removed {_words(removed)}"))


def _words(purged: "Purged") -> str:
    return f"{purged.jobs} jobs" + (f", {purged.batches} whole batches among them" if purged.batches else "")


def _ended(state: str | None) -> frozenset[str]:
    from config.errors import UnknownNameError
    from jobs.views import DONE

    states = frozenset(part.strip() for part in state.split(",")) if state is not None else DONE
    for name in sorted(states - DONE):
        raise UnknownNameError("state of what has ended", name, tuple(sorted(DONE)))
    return states
