"""``ticketflow up`` and ``ticketflow demo``: the whole system on this machine, nothing installed but Python."""

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from producer.commands.output import AsJson, emit, note


def register(root: typer.Typer) -> None:
    """Adds the commands that stand on their own."""
    root.command()(up)
    root.command()(demo)


def up(
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Run Redis, Postgres, Vault, workers and Flower here, kept under .ticketflow/, until Ctrl-C."""
    from config.settings import STACK_ENV, address_of
    from embedded.stack import Stack

    stop = threading.Event()
    stack = Stack(STACK_ENV.parent, True, workers, _flower_port(), note)
    with _stopped_by_signals(stop):
        try:
            stack.start(_migrate, lambda: _living(stack))
            urls = {
                "redis": address_of(stack.servers.redis_url),
                "postgres": address_of(stack.servers.database_url),
                "vault": stack.servers.vault_url,
                "flower": f"http://127.0.0.1:{stack.flower_port}" if stack.flower_port else None,
                "settings": str(stack.env_file),
            }
            emit(as_json, {"ready": True, **urls}, lambda: _print_ready(urls))
            stack.run_forever(stop)
        finally:
            note("stopping …")
            stack.stop()


def demo(as_json: AsJson = False) -> None:
    """Show the main job: 200 sample tickets through the whole system on this machine, then stop it all."""
    from producer.demo import run_demo

    with _stopped_by_signals(threading.Event()):
        outcome = run_demo(None if as_json else print)
    if as_json:
        emit(True, outcome.document, lambda: None)
    if not outcome.succeeded:
        raise typer.Exit(1)


def _flower_port() -> int:
    from config.settings import Settings

    return int(Settings.model_fields["flower_port"].default)


def _migrate(environment: Mapping[str, str]) -> None:
    from jobs.migrate import migrate

    migrate(environment["TICKETFLOW_DATABASE_URL"])


def _living(stack: Any) -> int:
    from config.presence import PresenceBoard
    from config.redis_link import connect_redis

    client = connect_redis(stack.servers.redis_url)
    try:
        return len(PresenceBoard(client, stack.servers.redis_url).living())
    finally:
        client.close()


def _print_ready(urls: Mapping[str, str | None]) -> None:
    for name, url in urls.items():
        if url:
            print(f"{name:<9} {url}")
    print("ready", flush=True)


@contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does: in order, with nothing left running."""

    def end(number: int, _: FrameType | None) -> None:
        stop.set()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


__all__ = ["Path"]
