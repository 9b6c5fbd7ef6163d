"""A program that submits work and may be killed at a chosen point: ``python -m tests.chaos.submitter PREFIX COUNT``.

``CHAOS_CRASH`` names the point. With COUNT 0 it enqueues one single job, else a batch under the name PREFIX.
"""

import os
import sys
from collections.abc import Iterator

from jobs.dispatch import Dispatcher
from jobs.kind import NewJob
from jobs.ledger import Ledger
from producer.producer import Producer
from tests.chaos.arena import PROVIDER, batch_jobs
from tests.chaos.dying import POINT, crash_after, die

BATCH_POINTS = ("among the rows", "rows written", "first message sent", "all sent")
SINGLE_POINT = "row written"

crash_after(Ledger, "accept_batch", "rows written")
crash_after(Ledger, "accept_on", SINGLE_POINT)
crash_after(Dispatcher, "send", "first message sent")
crash_after(Dispatcher, "start_batch", "all sent")


def inputs(prefix: str, count: int) -> Iterator[NewJob]:
    """The batch's jobs; half-way is a point to die at."""
    for number, job in enumerate(batch_jobs(count, prefix)):
        if number == count // 2 and POINT == "among the rows":
            die()
        yield job


def main(prefix: str, count: int) -> None:
    """Submits."""
    with Producer.from_env() as producer:
        if count:
            producer.submit_batch("complete", inputs(prefix, count), provider=PROVIDER, name=prefix)
        else:
            prompt = {"prompt": f"JOB[{prefix}] please"}
            producer.enqueue("complete", prompt, provider=PROVIDER, custom_id=prefix)


if __name__ == "__main__":
    os.chdir(sys.argv[3])
    main(sys.argv[1], int(sys.argv[2]))
