"""Healthcheck of a worker's container: the process shows itself in Redis, which it does from its event loop."""

import socket
import sys

from config.errors import TicketflowError
from config.presence import PresenceBoard
from config.redis_link import connect_redis
from config.settings import load_settings

SILENT_S = 5.0
"""A worker that is well shows itself every second."""


def problem() -> str | None:
    """What is wrong with the worker of this host, or None."""
    url = load_settings().redis_url
    client = connect_redis(url)
    try:
        living = PresenceBoard(client, url).living()
    finally:
        client.close()
    here = socket.gethostname()
    if any(worker.host == here and worker.last_seen_s < SILENT_S for worker in living):
        return None
    return f"no worker on {here} has shown itself for {SILENT_S:g} s"


def main() -> None:
    """Exit status 0: the worker is well."""
    try:
        sys.exit(problem())
    except TicketflowError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
