"""What a stack runs beside the servers: Celery workers and Flower, as data."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from config.settings import KEY_PREFIX, PREFIX
from embedded.servers import EmbeddedServers

ROOT = Path(__file__).parents[1]
"""The application runs from its root: there ``worker.app`` is found."""

_CELERY = (sys.executable, "-m", "celery", "-A", "worker.app")
_SERVICES = tuple(PREFIX + name for name in ("REDIS_URL", "DATABASE_URL", "VAULT_"))
_NOT_FOR_FLOWER = (*_SERVICES, KEY_PREFIX, "VAULT_", "BAO_", "FLOWER_UNAUTHENTICATED_API")


@dataclass(frozen=True)
class Program:
    """A program to keep running; ``essential``: the stack has not started if it ends while it starts."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    essential: bool = True


def celery_programs(servers: EmbeddedServers, workers: int, flower_port: int | None) -> list[Program]:
    """The worker processes of a stack, and Flower where a port is given."""
    programs = [_worker(servers, number) for number in range(1, workers + 1)]
    return programs if flower_port is None else [*programs, _flower(servers, flower_port)]


def _worker(servers: EmbeddedServers, number: int) -> Program:
    how = ("-P", "threads", "-n", f"w{number}@%h", "-Q", "interactive,bulk")
    quiet = ("--without-gossip", "--without-mingle", "-l", "INFO")
    environment = inherited_environment(_SERVICES) | servers.worker_environment
    return Program(f"worker {number}", (*_CELERY, "worker", *how, *quiet), environment)


def _flower(servers: EmbeddedServers, port: int) -> Program:
    """Flower looks on: it may change nothing, keeps little, and gets no credential of Vault."""
    options = ("--address=127.0.0.1", f"--port={port}", "--read_only=True", "--max_tasks=10000")
    environment = inherited_environment(_NOT_FOR_FLOWER) | {"TICKETFLOW_REDIS_URL": servers.redis_url}
    return Program(
        "Flower", (*_CELERY, "flower", *options, "--purge_offline_workers=300"), environment, essential=False
    )


def inherited_environment(without: tuple[str, ...]) -> dict[str, str]:
    """Our environment without the variables whose names begin with one of these."""
    return {name: value for name, value in os.environ.items() if not name.startswith(without)}
