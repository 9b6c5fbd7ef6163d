"""``ticketflow workers`` and ``ticketflow doctor``: is everything there?"""

from typing import Any

import typer

from producer.commands.output import AsJson, emit, table

MENDED = ("put_back", "given_up", "sent_again", "batches_started", "purged")
"""What a process' sweeper has done since it started; zeros are not shown to people."""


def register(root: typer.Typer) -> None:
    """Adds the commands that stand on their own."""
    root.command()(workers)
    root.command()(doctor)


def workers(as_json: AsJson = False) -> None:
    """List the live worker processes, and what each has mended and removed since it started."""
    from config.presence import PresenceBoard
    from producer import Producer

    with Producer.from_env() as producer:
        living = PresenceBoard(producer.redis, producer.settings.redis_url).living()
    columns = ("host", "pid", "queues", "generation", "clients", "in_flight", "jobs", "last_seen_s")
    counters = ("clients_made", "clients_reused", "clients_invalidated")
    shown = (*columns, *counters, *MENDED)
    document: list[dict[str, Any]] = [{name: getattr(p, name) for name in shown} for p in living]

    def text() -> None:
        if not living:
            print("no worker is running: start one with `ticketflow up` or `celery -A worker.app worker -P threads`")
            return
        rows = [
            [*(",".join(row[name]) if name == "queues" else row[name] for name in columns), _mended(row)]
            for row in document
        ]
        table([*(name.upper().replace("_", " ") for name in columns), "MENDED"], rows)

    emit(as_json, document, text)


def _mended(row: dict[str, Any]) -> str:
    return ", ".join(f"{row[name]} {name.replace('_', ' ')}" for name in MENDED if row[name])


def doctor(as_json: AsJson = False) -> None:
    """Check settings, Redis, Postgres, migrations, Vault, workers and each provider's reachability."""
    from producer.doctor import examine

    findings = examine()
    document = [{"check": f.check, "ok": f.ok, "detail": f.detail} for f in findings]

    def text() -> None:
        width = max(len(finding.check) for finding in findings)
        for finding in findings:
            print(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.check:<{width}}  {finding.detail}")

    emit(as_json, document, text)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)
