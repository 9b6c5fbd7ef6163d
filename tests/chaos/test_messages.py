"""Messages that are stolen, doubled, held back, put into another order, of a future version, or no messages at all."""

import json
import threading
import time
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

import pytest
import redis

from config.broker import RUN_JOBS, make_app
from config.redis_names import BULK_QUEUE, INTERACTIVE_QUEUE, QUEUES
from tests.chaos.arena import JOBS, PROVIDER, Arena, small
from tests.chaos.crew import Crew
from tests.chaos.table import Table

pytestmark = pytest.mark.timeout(400)
LATE_S = 6.0
JUNK = (
    b"this is no JSON",
    b"\xff\xfe\x00",
    b"",
    b"17",
    b"null",
    b"[]",
    b'{"body": "no headers"}',
    b'{"body": 3, "headers": {}, "properties": {}, "content-type": "application/json", "content-encoding": "utf-8"}',
    json.dumps(
        {
            "body": "gASVCgAAAAAAAACMBnBpY2tsZZQu",
            "content-encoding": "binary",
            "content-type": "application/x-python-serialize",
            "headers": {"lang": "py", "task": RUN_JOBS, "id": "1"},
            "properties": {
                "body_encoding": "base64",
                "delivery_info": {"exchange": "", "routing_key": "bulk"},
                "delivery_tag": "t-1",
                "correlation_id": "1",
            },
        }
    ).encode(),
)


class Thief:
    """Does something to a message of the queues whenever it gets hold of one, until the block is left."""

    def __init__(self, client: redis.Redis, chance: Random) -> None:
        self._client, self._chance = client, chance
        self.done = dict.fromkeys(("stolen", "doubled", "late", "reordered"), 0)
        self._held: list[tuple[float, str, bytes]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="thief")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def meddle(self) -> None:
        """Meets every queue once."""
        for queue in QUEUES:
            what = self._chance.choice(list(self.done))
            message = self._client.rpop(queue)
            if not isinstance(message, bytes):
                continue
            self.done[what] += 1
            if what == "late":
                self._held.append((time.monotonic() + LATE_S, queue, message))
            elif what == "doubled":
                self._client.lpush(queue, message, message, message)
            elif what == "reordered":
                others = self._client.lpop(queue, 100)
                mixed = [message, *(others if isinstance(others, list) else ())]
                self._chance.shuffle(mixed)
                self._client.rpush(queue, *mixed)
        while self._held and time.monotonic() > self._held[0][0]:
            _, queue, message = self._held.pop(0)
            self._client.lpush(queue, message)

    def _work(self) -> None:
        while not self._stop.wait(0.002):
            self.meddle()


def send_what_nobody_understands(arena: Arena, client: redis.Redis) -> None:
    """Messages of a future version, with arguments that are none, and what is no message."""
    app = make_app(arena.settings)
    for queue in QUEUES:
        app.send_task(RUN_JOBS, args=[PROVIDER, [], "more"], kwargs={"priority": 3}, queue=queue)
        app.send_task(RUN_JOBS, args=[PROVIDER, None], queue=queue)
        for batch in (["0" * 32, 10], ["no-id", 10], [7, 10], ["0" * 32, -1], ["0" * 32, 10**9], ["0" * 32, "x"]):
            app.send_task(RUN_JOBS, args=[PROVIDER, [], *batch], queue=queue)
        app.send_task(RUN_JOBS, args=[PROVIDER, [None, 7, "no-id", {"a": 1}]], queue=queue)
        app.send_task(RUN_JOBS, args=[None, ["0" * 32]], queue=queue)
        app.send_task("ticketflow.run_jobs_v2", args=[{"provider": PROVIDER}], queue=queue)
    app.close()
    for junk in JUNK:
        client.lpush(BULK_QUEUE, junk)
        client.lpush(INTERACTIVE_QUEUE, junk)


def test_messages_are_meddled_with(arena: Arena, table: Table, tmp_path: Path) -> None:
    arena.plan(delay_s=0.2)
    client = redis.Redis.from_url(arena.settings.redis_url)
    thief = Thief(client, arena.chance)
    with arena.single_jobs("early"):
        arena.submit(JOBS)
        for _ in range(4):
            thief.meddle()
    more = {"TICKETFLOW_SLICE_JOBS": "25", "TICKETFLOW_SLICES_PER_BATCH": "20"}
    with Crew(small(arena, **more), tmp_path, 2) as crew:
        with arena.single_jobs(), thief:
            arena.progress(200)
            send_what_nobody_understands(arena, client)
            arena.progress(JOBS // 2)
        report = arena.settled()
        assert client.llen(BULK_QUEUE) == client.llen(INTERACTIVE_QUEUE) == 0, "none blocks the way"
    client.close()
    table.add("9 messages: " + ", ".join(f"{n} {what}" for what, n in thief.done.items()), report, None)
    assert (report.failed, report.paid_twice) == (0, 0)
    assert crew.statuses == [], crew.log
    assert all(thief.done.values()), thief.done
