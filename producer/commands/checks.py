"""``ticketflow workers`` and ``ticketflow doctor``: is everything there?"""

from typing import Any

import typer

from producer.commands.output import AsJson, emit, table


def register(root: typer.Typer) -> None:
    """Adds the commands that stand on their own."""
    root.command()(workers)
    root.command()(doctor)


def workers(as_json: AsJson = False) -> None:
    """List the live worker processes."""
    from config.presence import PresenceBoard
    from producer import Producer

    with Producer.from_env() as producer:
        living = PresenceBoard(producer.redis, producer.settings.redis_url).living()
    columns = ("host", "pid", "queues", "generation", "clients", "in_flight", "jobs", "last_seen_s")
    counters = ("clients_made", "clients_reused", "clients_invalidated")
    document: list[dict[str, Any]] = [{name: getattr(p, name) for name in (*columns, *counters)} for p in living]

    def text() -> None:
        if not living:
            print("no worker is running: start one with `ticketflow up` or `celery -A worker.app worker -P threads`")
            return
        rows = [[",".join(row[name]) if name == "queues" else row[name] for name in columns] for row in document]
        table([name.upper().replace("_", " ") for name in columns], rows)

    emit(as_json, document, text)


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
