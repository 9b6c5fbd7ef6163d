"""A large batch from a file: how fast it is accepted, and what that takes of the producer and of Redis.

Run as ``python -m bench.more.intake FILE`` it submits the file and prints the seconds that it took.
"""

import json
import sys
import time
from pathlib import Path

from bench.place import PROVIDER_ID, Place
from bench.proc import MB
from bench.prompts import ticket
from bench.running import wait_done
from bench.watch import Watch
from embedded.children import ChildProcesses
from jobs.kinds import kind_named
from producer import Producer
from producer.intake import Intake

KIND = "summarise_ticket"


def intake(place: Place, tickets: int) -> dict[str, float]:
    """Submits a file of tickets with no worker running.

    Args:
        place: where.
        tickets: lines of the file, a kilobyte each.
    """
    path, children = place.folder / "tickets.jsonl", ChildProcesses()
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(ticket(number))}\n" for number in range(tickets))
    try:
        with place.fresh():
            before = place.redis_bytes()
            process = place.spawn(children, (sys.executable, "-m", "bench.more.intake", str(path)), place.operator())
            with Watch([process.pid], pause_s=0.05) as watch:
                wait_done(process)
            grown = place.redis_bytes() - before
    finally:
        children.close()
        path.unlink()
    return {
        "intake_rows_per_s": tickets / float(process.output()),
        "intake_producer_pss_mb": max(watch.highest_bytes.values()) / MB,
        "intake_redis_growth_mb": grown / MB,
    }


def _submit(path: str) -> float:
    """Submits a file as ``ticketflow batch submit`` does and returns the seconds that it took."""
    with Producer.from_env() as producer, Path(path).open("rb") as stream:
        began = time.monotonic()
        producer.submit_batch(KIND, Intake(kind_named(KIND), stream), provider=PROVIDER_ID)
        return time.monotonic() - began


if __name__ == "__main__":
    print(_submit(sys.argv[1]))
