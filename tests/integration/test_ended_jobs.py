"""Jobs of a batch read as they end: each once, whatever the order in which ends become visible."""

import random
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from config.database import Database
from jobs import ended
from jobs.ended import EndedJobs
from jobs.kind import NewJob
from jobs.ledger import Ledger
from jobs.records import Release, Settlement
from jobs.statements import statement
from jobs.terms import Target
from jobs.work import WorkLedger

TOTAL = 2500


class Batch:
    """A batch of jobs that are all claimed, to be ended one by one; each is named by its place in the input."""

    def __init__(self, database: Database, total: int = TOTAL) -> None:
        self.ledger, self._work = Ledger(database), WorkLedger(database, "worker-1")
        batch_id, _ = self.ledger.accept_batch(
            Target("complete", "groq"), (NewJob('{"prompt": "p"}', str(n)) for n in range(total))
        )
        self.batch_id = str(batch_id)
        self.ids = [UUID(job.job_id) for job in self.ledger.jobs_of_batch(self.batch_id)]
        self._work.renew_lease(60)
        claims = {claim.job_id: claim for claim in self._work.claim(self.ids)}
        self.claims = [claims[job_id] for job_id in self.ids]

    def end(self, *places: int, state: str = "succeeded") -> None:
        self._work.record([self.settlement(place, state) for place in places])

    def settlement(self, place: int, state: str = "succeeded") -> Settlement:
        claim = self.claims[place]
        return Settlement(claim.job_id, claim.fence, state, 1, '{"text": "x"}' if state == "succeeded" else None)

    def release(self, place: int) -> None:
        self._work.record([Release(self.ids[place], self.claims[place].fence, 1)])

    def taken(self, reading: EndedJobs) -> list[int]:
        return [int(job.custom_id or -1) for job in reading.take(self.ledger.batch(self.batch_id))]


def chunks(places: list[int], size: int) -> Iterator[list[int]]:
    return (places[start : start + size] for start in range(0, len(places), size))


def test_jobs_are_read_soon_after_their_end_and_each_once(database: Database) -> None:
    batch = Batch(database)
    reading = EndedJobs(database, batch.batch_id)
    assert batch.taken(reading) == []
    places = list(range(TOTAL))
    random.Random(5).shuffle(places)
    for some in chunks(places, 300):
        batch.end(*some)
        assert sorted(batch.taken(reading)) == sorted(some)
        if not batch.ledger.batch(batch.batch_id).done:
            assert batch.taken(reading) == []


def test_in_order_each_waits_for_those_before_it(database: Database) -> None:
    batch = Batch(database)
    reading = EndedJobs(database, batch.batch_id, in_order=True)
    batch.end(*range(5, TOTAL))
    assert batch.taken(reading) == []
    batch.end(0, 1, 3)
    assert batch.taken(reading) == [0, 1]
    batch.end(2)
    assert batch.taken(reading) == [2, 3]
    batch.end(4, state="failed")
    assert batch.taken(reading) == list(range(4, TOTAL))


def test_in_order_pages_are_read_before_the_end(database: Database) -> None:
    batch = Batch(database)
    reading = EndedJobs(database, batch.batch_id, in_order=True)
    batch.end(*range(TOTAL - 1))
    assert batch.taken(reading) == list(range(TOTAL - 1))
    batch.end(TOTAL - 1)
    assert batch.taken(reading) == [TOTAL - 1]


def test_an_end_that_is_committed_late_is_not_passed_over(database: Database) -> None:
    batch = Batch(database, 10)
    reading = EndedJobs(database, batch.batch_id)
    with database.transaction() as connection:
        connection.execute("UPDATE jobs SET state = 'succeeded', finished_at = now() WHERE id = %s", [batch.ids[2]])
        batch.end(3, 7)
        assert batch.taken(reading) == [3, 7]
        connection.execute("UPDATE batches SET succeeded = succeeded + 1, running = running - 1")
    assert batch.taken(reading) == [2]
    batch.end(0, 1, 4, 5, 6, 8, 9)
    assert batch.taken(reading) == [0, 1, 4, 5, 6, 8, 9]


def test_ends_far_ahead_are_looked_for_farther_each_time(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ended, "WINDOW_JOBS", 100)
    batch = Batch(database)
    reading = EndedJobs(database, batch.batch_id)
    batch.end(2000)
    seen = [batch.taken(reading) for _ in range(7)]
    assert [2000] in seen
    assert seen.count([]) == 6
    batch.end(0, 1999, 2001)
    assert batch.taken(reading) == [0, 1999, 2001]


def test_nothing_is_asked_while_nothing_has_ended(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch(database, 10)
    batch.end(0)
    status = batch.ledger.batch(batch.batch_id)
    readings = [EndedJobs(database, batch.batch_id, in_order=in_order) for in_order in (False, True)]
    assert [len(list(reading.take(status))) for reading in readings] == [1, 1]
    asked: list[str] = []
    query: Callable[..., Any] = database.query

    def counted(sql: str, given: dict[str, Any] | None = None) -> Any:
        asked.append(sql)
        return query(sql, given)

    monkeypatch.setattr(database, "query", counted)
    assert [list(reading.take(status)) for reading in readings] == [[], []]
    assert asked == []


def test_a_job_that_is_run_again_is_not_read_again_and_the_rest_is_complete(database: Database) -> None:
    batch = Batch(database, 10)
    readings = [EndedJobs(database, batch.batch_id, in_order=in_order) for in_order in (False, True)]
    batch.end(0, 1, state="failed")
    assert [batch.taken(reading) for reading in readings] == [[0, 1], [0, 1]]
    database.query(statement("rerun_jobs"), {"ids": [batch.ids[0]]})
    batch.end(2)
    assert [batch.taken(reading) for reading in readings] == [[], []], "two have ended now, and two were read"
    (claim,) = WorkLedger(database, "worker-1").claim([batch.ids[0]])
    batch.claims[0] = claim
    batch.end(*range(3, 10), 0)
    assert [sorted(batch.taken(reading)) for reading in readings] == [list(range(2, 10))] * 2


def test_cancelled_and_released_jobs_are_read_like_others(database: Database) -> None:
    batch = Batch(database, 6)
    reading = EndedJobs(database, batch.batch_id)
    batch.end(1)
    batch.release(0)
    assert batch.taken(reading) == [1]
    batch.ledger.cancel_job(str(batch.ids[0]))
    assert batch.taken(reading) == [0]
    batch.ledger.cancel_batch(batch.batch_id)
    for place in range(2, 6):
        batch.release(place)
    assert batch.taken(reading) == [2, 3, 4, 5]
    assert batch.ledger.batch(batch.batch_id).cancelled == 5


def test_only_failed_jobs_are_read_on_request(database: Database) -> None:
    batch = Batch(database)
    failed = list(range(0, TOTAL, 2))
    batch.end(*failed, state="failed")
    read = batch.ledger.jobs_of_batch(batch.batch_id, "failed")
    assert [int(job.custom_id or -1) for job in read] == failed
    assert len(list(batch.ledger.jobs_of_batch(batch.batch_id))) == TOTAL
