"""``ticketflow jobs list`` and ``jobs rerun``: jobs by what they have in common."""

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producer.commands.output import AsJson, confirm, emit, table

if TYPE_CHECKING:
    from jobs.selection import Selection
    from jobs.views import Job

ProviderFilter = Annotated[str | None, typer.Option("--provider", metavar="ID", help="Answered by this provider.")]
GenerationFilter = Annotated[
    str | None,
    typer.Option(
        "--generation", metavar="A..B", help="Answered under these generations of the provider, such as 410..412."
    ),
]
StateFilter = Annotated[
    str | None, typer.Option("--state", help="queued, running, succeeded, failed or cancelled; several with commas.")
]
ErrorFilter = Annotated[str | None, typer.Option("--error", metavar="TYPE", help="Ended with this error.")]
KindFilter = Annotated[str | None, typer.Option("--kind", help="Of this kind.")]
BatchFilter = Annotated[str | None, typer.Option("--batch", metavar="BATCH_ID", help="In this batch.")]


def register(jobs: typer.Typer) -> None:
    """Adds the commands to ``ticketflow jobs``."""
    jobs.command("list")(list_jobs)
    jobs.command("rerun")(rerun)


def list_jobs(
    provider: ProviderFilter = None,
    generation: GenerationFilter = None,
    state: StateFilter = None,
    error: ErrorFilter = None,
    kind: KindFilter = None,
    batch: BatchFilter = None,
    limit: Annotated[int, typer.Option(min=1, help="Show so many, the newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first, and count them by state."""
    from jobs.selection import SelectedJobs
    from producer import Producer

    selection = _selection(provider, generation, state, error, kind, batch)
    with Producer.from_env() as producer:
        selected = SelectedJobs(producer.database, selection)
        shown, counts = selected.newest(limit), selected.counts()
    document = {"counts": counts, "jobs": [job.model_dump(mode="json") for job in shown]}
    emit(as_json, document, lambda: _print(shown, counts))


def rerun(
    provider: ProviderFilter = None,
    generation: GenerationFilter = None,
    state: StateFilter = None,
    error: ErrorFilter = None,
    kind: KindFilter = None,
    batch: BatchFilter = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run jobs that have ended once more: their results are taken back, and each call is paid again."""
    from config.errors import UsageError
    from jobs.selection import SelectedJobs, Selection
    from jobs.views import DONE
    from producer import Producer

    selection = _selection(provider, generation, state, error, kind, batch)
    if selection == Selection():
        raise UsageError("say which jobs, such as --provider groq --generation 410..412, or --state failed")
    with Producer.from_env() as producer:
        counts = SelectedJobs(producer.database, selection).counts()
        ended = {state: count for state, count in counts.items() if state in DONE}
        if ended:
            confirm(f"run {_counted(ended)} jobs again?", yes)
        total = producer.rerun(selection) if ended else 0
    emit(as_json, {"queued": total}, lambda: print(f"queued {total} jobs again"))


def _selection(
    provider: str | None,
    generation: str | None,
    state: str | None,
    error: str | None,
    kind: str | None,
    batch: str | None,
) -> "Selection":
    from jobs.selection import Selection

    states = tuple(part.strip() for part in state.split(",")) if state is not None else None
    return Selection(provider, _generations(generation), _known(states), error, kind, batch)


def _known(states: tuple[str, ...] | None) -> tuple[str, ...] | None:
    from typing import get_args

    from config.errors import UnknownNameError
    from jobs.views import JobState

    for state in states or ():
        if state not in get_args(JobState):
            raise UnknownNameError("state", state, get_args(JobState))
    return states


def _generations(text: str | None) -> tuple[int, int] | None:
    from config.errors import UsageError

    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,18})(?:\.\.(\d{1,18}))?", text)
    if not found or int(found[1]) > int(found[2] or found[1]):
        raise UsageError(f"--generation {text}: give one, such as 412, or a range, such as 410..412")
    return int(found[1]), int(found[2] or found[1])


def _print(jobs: "list[Job]", counts: dict[str, int]) -> None:
    columns = ("JOB", "CUSTOM ID", "KIND", "PROVIDER", "GENERATION", "KEY", "STATE", "ERROR", "ACCEPTED")
    table(columns, [_row(job) for job in jobs])
    more = sum(counts.values()) - len(jobs)
    print(f"{_counted(counts)}{f'; {more} not shown (--limit)' if more > 0 else ''}")


def _row(job: "Job") -> tuple[Any, ...]:
    error = job.error.type if job.error else None
    accepted = f"{job.created_at:%Y-%m-%d %H:%M:%S}"
    place = (job.provider_id, job.provider_generation, job.key_version)
    return (job.job_id, job.custom_id, job.kind, *place, job.state, error, accepted)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in counts.items()) or "none"
