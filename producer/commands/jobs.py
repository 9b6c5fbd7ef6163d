"""``ticketflow enqueue`` and ``ticketflow jobs``: single jobs."""

import json
from enum import StrEnum
from typing import Annotated, Any

import typer

from producer.commands.output import AsJson, emit, fields, note, table, usd

app = typer.Typer(no_args_is_help=True)


class WhenDown(StrEnum):
    """What ``--when-down`` takes."""

    wait = "wait"
    fail = "fail"


ModelOption = Annotated[str | None, typer.Option(help="A model of the provider; its default if not given.")]
ProviderOption = Annotated[str, typer.Option(help="Id of the provider that is to answer.")]
ReuseOption = Annotated[
    str | None,
    typer.Option(
        "--reuse",
        metavar="AGE",
        help="Take the result of a job that asked the same of the same model, if it is no older: 30m, 12h, 7d.",
    ),
]

FallbackOption = Annotated[
    list[str] | None,
    typer.Option("--fallback", metavar="ID[,ID…]", help="Providers to ask, in order, if that one cannot answer."),
]


def provider_ids(given: list[str] | None) -> tuple[str, ...]:
    """The ids in an option that may be repeated and may hold several."""
    return tuple(part.strip() for value in given or () for part in value.split(",") if part.strip())


def register(root: typer.Typer) -> None:
    """Adds the commands that stand on their own."""
    root.command()(enqueue)


def enqueue(
    kind: Annotated[str, typer.Argument(help="Job kind, such as summarise_ticket or complete.")],
    provider: ProviderOption,
    model: ModelOption = None,
    fallback: FallbackOption = None,
    when_down: Annotated[
        WhenDown,
        typer.Option(help="While every provider named is known to be failing: wait for the first, or fail at once."),
    ] = WhenDown.wait,
    input_file: Annotated[
        str, typer.Option("--input", metavar="FILE", help="File with the input as JSON; - is standard input.")
    ] = "-",
    wait_s: Annotated[
        float | None, typer.Option("--wait", metavar="SECONDS", help="Wait for the result, at most so long.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Asked again under this key, the first job is the answer.")
    ] = None,
    reuse: ReuseOption = None,
    supersede_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="What this is a revision of, such as a ticket's id; wants --revision."),
    ] = None,
    revision: Annotated[
        int | None, typer.Option(help="Number of the revision: a newer one drops older ones that wait.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Enqueue one job."""
    from config.durations import duration_s
    from jobs.kinds import kind_named
    from producer import Producer
    from producer.intake import open_input

    kind_named(kind)
    reuse_s = duration_s(reuse) if reuse is not None else None
    with open_input(input_file) as stream:
        data = _parsed(stream.read(), input_file)
    with Producer.from_env() as producer:
        job = producer.enqueue(
            kind,
            data,
            provider=provider,
            model=model,
            idempotency_key=idempotency_key,
            reuse_s=reuse_s,
            supersede_key=supersede_key,
            revision=revision,
            fallbacks=provider_ids(fallback),
            when_down=when_down.value,
        )
        if not job.is_new:
            note(f"job {job.job_id} was there already: nothing was enqueued again")
        view = job.status() if wait_s is None else job.wait(wait_s)
    emit(as_json, view.model_dump(mode="json"), lambda: _print_job(view.model_dump()))
    if view.state == "failed":
        raise typer.Exit(1)


@app.command()
def show(job_id: Annotated[str, typer.Argument(metavar="JOB_ID")], as_json: AsJson = False) -> None:
    """Show one job with its attempts: who was called after what wait, and what came of it."""
    from producer import Producer

    with Producer.from_env() as producer:
        job = producer.ledger.job(job_id)
        calls = producer.ledger.calls(job_id)
    document = {**job.model_dump(mode="json"), "calls": [call.model_dump(mode="json") for call in calls]}

    def text() -> None:
        _print_job(job.model_dump())
        if calls:
            print()
            rows = [
                (
                    *(c.attempt, c.wait_ms, c.provider_id, c.model, c.outcome or "in flight", c.status, c.duration_ms),
                    usd(c.cost_usd),
                )
                for c in calls
            ]
            table(("ATTEMPT", "WAITED MS", "PROVIDER", "MODEL", "OUTCOME", "STATUS", "MS", "USD"), rows)

    emit(as_json, document, text)


@app.command()
def cancel(job_id: Annotated[str, typer.Argument(metavar="JOB_ID")], as_json: AsJson = False) -> None:
    """End a job: at once if it waits, within two seconds if it runs, its call cut off."""
    from config.errors import ConflictError
    from producer import Producer

    with Producer.from_env() as producer:
        ended, asked = producer.ledger.cancel_job(job_id)
        job = producer.ledger.job(job_id)
    if not ended and not asked:
        raise ConflictError(f"job {job_id} has ended already: it is {job.state}")
    emit(
        as_json,
        {"job_id": job_id, "cancelled": ended, "stopping": asked},
        lambda: print("cancelled" if ended else "being stopped"),
    )


def _parsed(text: bytes, name: str) -> Any:
    from config.errors import InvalidInputError

    try:
        return json.loads(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InvalidInputError(((0, f"{name} is not UTF-8 at byte {error.start + 1}"),)) from None
    except json.JSONDecodeError as error:
        raise InvalidInputError(((0, f"{name} is not JSON: line {error.lineno}, column {error.colno}"),)) from None


def _print_job(job: dict[str, Any]) -> None:
    usage, error = job.pop("usage"), job.pop("error")
    result = job.pop("result")
    job["fallbacks"] = ", ".join(job["fallbacks"]) or None
    fields(job.items())
    fields([("tokens", f"{usage['input_tokens']} in, {usage['output_tokens']} out")])
    if error:
        note(f"{error['type']}: {error['message']}")
    if result is not None:
        print(json.dumps(result, ensure_ascii=False, indent=2))
