"""``ticketflow up`` and ``ticketflow demo``: the whole system on this machine, nothing installed but Python."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from producer.commands.output import AsJson, emit, note

if TYPE_CHECKING:
    from embedded.stack import Stack

FRESH_S = 2.5
"""A worker process shows itself every second; what a former one left on the board is older."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def register(root: typer.Typer) -> None:
    """Adds the commands that stand on their own."""
    root.command()(up)
    root.command()(demo)


def up(
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Run Redis, Postgres, Vault, workers and Flower here, kept under .ticketflow/, until Ctrl-C."""
    from config.settings import STACK_ENV, Settings
    from embedded.stack import Stack

    stop = threading.Event()
    stack = Stack(STACK_ENV.parent, True, workers, Settings.model_fields["flower_port"].default, note)
    try:
        with _signals(_interrupt):
            stack.start(migrate_ledger, lambda: living_workers(stack))
        with _signals(lambda *_: stop.set()):
            urls = _urls(stack)
            emit(as_json, {"ready": True, **urls}, lambda: _print_ready(urls))
            stack.run_forever(stop)
    finally:
        with _signals(signal.SIG_IGN):  # stopping is bounded in time, and leaves something behind if it is broken off
            note("stopping …")
            stack.stop()


def demo(as_json: AsJson = False) -> None:
    """Show the main job: 200 sample tickets through the whole system on this machine, then stop it all."""
    from producer.commands.demo import run_demo

    with _signals(_interrupt):
        outcome = run_demo(show=not as_json)
    emit(as_json, outcome.document, lambda: None)
    if not outcome.succeeded:
        raise typer.Exit(1)


def migrate_ledger(environment: Mapping[str, str]) -> None:
    """What a stack does before its first worker starts."""
    from jobs.migrate import migrate

    migrate(environment["TICKETFLOW_DATABASE_URL"])


def living_workers(stack: "Stack") -> int:
    """How many worker processes of a stack have shown themselves."""
    from config.presence import PresenceBoard
    from config.redis_link import connect_redis

    client = connect_redis(stack.servers.redis_url)
    try:
        living = PresenceBoard(client, stack.servers.redis_url).living()
        return sum(presence.last_seen_s < FRESH_S for presence in living)
    finally:
        client.close()


def _urls(stack: "Stack") -> dict[str, str | None]:
    from config.settings import address_of

    return {
        "redis": address_of(stack.servers.redis_url),
        "postgres": address_of(stack.servers.database_url),
        "vault": stack.servers.vault_url,
        "flower": f"http://127.0.0.1:{stack.flower_port}" if stack.flower_port else None,
        "settings": str(stack.env_file),
    }


def _print_ready(urls: Mapping[str, str | None]) -> None:
    for name, url in urls.items():
        if url:
            print(f"{name:<9} {url}")
    print("ready", flush=True)


Handler = Callable[[int, FrameType | None], object] | signal.Handlers


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """SIGTERM and SIGHUP end the command as Ctrl-C does: in order, with nothing left running."""
    raise KeyboardInterrupt


@contextmanager
def _signals(handler: Handler) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)
