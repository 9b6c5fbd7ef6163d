"""Messages that ask for the next jobs of a batch, in real Valkey: how many, and what makes up for lost ones."""

import base64
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from config.broker import make_sending_app
from config.database import Database
from config.redis_link import connect_redis
from config.redis_names import BULK_QUEUE, INTERACTIVE_QUEUE
from config.settings import Settings
from jobs.dispatch import Dispatcher
from jobs.hints import Hint
from jobs.ids import new_id
from jobs.kind import NewJob
from jobs.ledger import Ledger
from jobs.records import Claim, Release, Settlement
from jobs.terms import Target
from jobs.work import WorkLedger
from tests.conftest import Stack
from worker.sweeper import Sweeper

SLICE, SHARE = 10, 40


class Broker:
    """A dispatcher, what it sent, and two worker processes that live and do nothing by themselves.

    Args:
        settings: of the servers.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings.model_copy(update={"slice_jobs": SLICE, "slices_per_batch": SHARE // SLICE})
        self.database = Database(settings.database_url, "test")
        self.ledger, self.client = Ledger(self.database), connect_redis(settings.redis_url)
        self.workers = [WorkLedger(self.database, name) for name in ("worker-1", "worker-2")]
        for worker in self.workers:
            worker.renew_lease(60)
        self.dispatcher = Dispatcher(make_sending_app(settings), self.ledger, self.settings)

    def batch(self, jobs: int) -> UUID:
        """Accepted, and nothing sent."""
        return self.ledger.accept_batch(Target("complete", "groq"), (NewJob('{"prompt": "p"}') for _ in range(jobs)))[0]

    def sent(self, queue: str = BULK_QUEUE) -> list[Any]:
        """The arguments of the messages that wait, which are lost with this."""
        messages = []
        while message := self.client.rpop(queue):
            messages.append(json.loads(base64.b64decode(json.loads(str(message))["body"]))[0])
        return messages

    def take(self, batch_id: UUID, jobs: int) -> list[Claim]:
        """What a worker does with a message."""
        return self.workers[0].claim([], next_jobs={batch_id: jobs})

    def close(self) -> None:
        """Ends connections."""
        self.dispatcher.close()
        self.client.close()
        self.database.close()


@pytest.fixture
def broker(stack: Stack) -> Iterator[Broker]:
    broker = Broker(stack.settings)
    yield broker
    broker.close()


def asked(batch_id: UUID, *jobs: int) -> list[Any]:
    return [["groq", [], str(batch_id), count] for count in jobs]


def test_a_batch_begins_with_a_share_for_each_process(broker: Broker) -> None:
    batch_id, small_id = broker.batch(200), broker.batch(13)
    assert broker.dispatcher.start_batch(batch_id) == 2 * SHARE
    assert broker.sent() == asked(batch_id, *[SLICE] * 8)
    assert broker.dispatcher.start_batch(small_id) == 13
    assert broker.sent() == asked(small_id, 10, 3)
    assert broker.dispatcher.start_batch(new_id()) == 0
    assert broker.dispatcher.start_batch(broker.batch(0)) == 0
    assert broker.sent() == []


def test_what_is_named_is_sent_by_its_name(broker: Broker) -> None:
    one, other = new_id(), new_id()
    broker.dispatcher.send(Hint("groq", INTERACTIVE_QUEUE, (one, other)))
    assert broker.sent(INTERACTIVE_QUEUE) == [["groq", [str(one), str(other)]]]


def test_a_process_without_room_for_its_share_is_sent_less(broker: Broker) -> None:
    few = broker.settings.model_copy(update={"calls_in_flight": 1})
    dispatcher = Dispatcher(make_sending_app(few), broker.ledger, few)
    batch_id = broker.batch(200)
    assert dispatcher.start_batch(batch_id) == 2 * (1 + 2 * SLICE)
    assert broker.sent() == asked(batch_id, 10, 10, 10, 10, 2)
    dispatcher.close()


def test_jobs_that_end_let_in_others_of_their_batch_or_of_the_oldest_that_has_some(broker: Broker) -> None:
    batch_id, younger_id = broker.batch(30), broker.batch(30)
    broker.take(batch_id, 15)
    broker.dispatcher.feed_on(batch_id, 12)
    assert broker.sent() == asked(batch_id, 10, 2)
    broker.take(batch_id, 10)
    broker.dispatcher.feed_on(batch_id, 12)
    assert broker.sent() == [*asked(batch_id, 5), *asked(younger_id, 7)]
    broker.ledger.pause(str(batch_id))
    broker.dispatcher.feed_on(batch_id, 12)
    assert broker.sent() == asked(younger_id, 10, 2)
    broker.take(younger_id, 30)
    broker.dispatcher.feed_on(younger_id, 12)
    assert broker.sent() == []


def test_where_too_little_runs_more_is_asked_for(broker: Broker) -> None:
    """Messages were lost, and those jobs that run let in as many others as they are, no more."""
    batch_id = broker.batch(200)
    claims = broker.take(batch_id, 30)
    assert broker.dispatcher.top_up(SHARE // 2) == 0, "it has jobs for half of its share"
    assert broker.dispatcher.top_up(30) == 30
    assert broker.sent() == asked(batch_id, 10, 10, 10)
    for claim in claims:
        broker.workers[0].record([Release(claim.job_id, claim.fence, 0, 60.0)])
    assert broker.dispatcher.top_up(50) == 0, "those that wait for a provider have their place"
    assert broker.dispatcher.top_up(60) == 30
    assert broker.sent() == asked(batch_id, 10, 10, 10)
    other_id = broker.batch(200)
    broker.ledger.pause(str(batch_id))
    assert broker.dispatcher.top_up(50) == 50, "of a paused batch nothing waits"
    assert broker.sent() == asked(other_id, *[SLICE] * 5)


def test_a_sweeper_asks_again_when_no_message_waits(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    sweeper = Sweeper(broker.workers[1], broker.dispatcher, broker.client, broker.settings)
    batch_id = broker.batch(200)
    claims = broker.take(batch_id, 10)
    broker.client.lpush(BULK_QUEUE, "one that waits")
    sweeper.sweep({}, 70)
    assert broker.client.llen(BULK_QUEUE) == 1
    broker.client.delete(BULK_QUEUE)
    sweeper.sweep({}, 0)  # as of a process for single jobs alone
    assert broker.sent() == []
    sweeper.sweep({}, 70)
    assert broker.sent() == asked(batch_id, *[SLICE] * 7)
    for claim in claims:
        broker.workers[0].record([Settlement(claim.job_id, claim.fence, "succeeded", 1, "{}")])
    sweeper.sweep({}, 70)
    assert broker.sent() == asked(batch_id, *[SLICE] * 8), "all of it, and once"
    assert (sweeper.mended["sent_again"], sweeper.mended["batches_started"]) == (70, 1)
    for words in ("sent again: messages that ask for 70 jobs", "had nobody to feed it"):
        assert caplog.text.count(words) == 1


def test_with_nothing_to_ask_for_nothing_is_asked(broker: Broker) -> None:
    assert broker.dispatcher.top_up(100) == 0
    batch_id = broker.batch(3)
    for claim in broker.take(batch_id, 3):
        broker.workers[0].record([Settlement(claim.job_id, claim.fence, "succeeded", 1, "{}")])
    assert broker.dispatcher.top_up(100) == 0
    paused_id = broker.batch(3)
    broker.ledger.pause(str(paused_id))
    assert broker.dispatcher.top_up(100) == 0
    assert broker.sent() == []
