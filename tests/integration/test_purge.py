"""What ended long ago is removed, whole and in small steps; what has not, and what runs again, stays."""

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from uuid import UUID

import pytest

from config.database import Database
from config.errors import UnknownNameError
from jobs.ended import EndedJobs
from jobs.ids import first_id, new_id
from jobs.kind import NewJob
from jobs.ledger import Ledger
from jobs.purge import PAGE_JOBS, OldWork, Purged
from jobs.records import CallStart, Origin, Settlement
from jobs.selection import SelectedJobs, Selection
from jobs.terms import Target
from jobs.work import WorkLedger
from producer.producer import Producer
from tests.conftest import Stack
from tests.integration.test_command import Command
from tests.support.llm_server import LLMServer
from tests.support.providers import add_local
from tests.support.waiting import wait_for
from tests.support.workers import WorkerProcess, living

DAY_S = 86_400.0
OLD_S = 100 * DAY_S
_numbers = count(1)


def old_id(database: Database) -> UUID:
    """An id from when what is old here was accepted: an hour before it ended."""
    (row,) = database.query("SELECT extract(epoch FROM now())::float8 AS now_s")
    return UUID(int=first_id(row["now_s"] - OLD_S - 3600).int + next(_numbers))


def ended(database: Database, state: str = "succeeded", age_s: float = OLD_S) -> UUID:
    """A single job that ended ``age_s`` ago, with one call."""
    job_id = old_id(database)
    given = {"id": job_id, "state": state, "age_s": age_s}
    database.query(
        """INSERT INTO jobs (id, kind, provider_id, queue, input, state, finished_at)
           VALUES (%(id)s, 'complete', 'groq', 'interactive', '{}', %(state)s,
                   now() - make_interval(secs => %(age_s)s))""",
        given,
    )
    database.query(
        """INSERT INTO calls (job_id, attempt, provider_id, provider_generation, model, worker_id)
           VALUES (%(id)s, 1, 'groq', 1, 'm', 'w')""",
        given,
    )
    return job_id


def ended_batch(database: Database, states: dict[str, int], age_s: float = OLD_S) -> str:
    """A batch that ended ``age_s`` ago, with so many jobs of each state, in no order."""
    given = {"id": old_id(database), "total": sum(states.values()), "age_s": age_s}
    database.query(
        """INSERT INTO batches (id, name, kind, provider_id, total, succeeded, failed, cancelled, finished_at)
           VALUES (%(id)s, %(id)s::text, 'complete', 'groq', %(total)s, %(succeeded)s, %(failed)s, %(cancelled)s,
                   now() - make_interval(secs => %(age_s)s))""",
        {"succeeded": 0, "failed": 0, "cancelled": 0, **states, **given},
    )
    with database.transaction() as connection:
        connection.execute(
            """INSERT INTO jobs (id, batch_id, seq, kind, provider_id, queue, input, state, finished_at)
               SELECT gen_random_uuid(), %(id)s, n - 1, 'complete', 'groq', 'bulk', '{}', state,
                      now() - make_interval(secs => %(age_s)s)
               FROM unnest(%(states)s::text[]) WITH ORDINALITY AS s (state, n)""",
            {**given, "states": [state for state, some in states.items() for _ in range(some)]},
        )
        connection.execute(
            """INSERT INTO calls (job_id, attempt, provider_id, provider_generation, model, worker_id)
               SELECT id, 1, 'groq', 1, 'm', 'w' FROM jobs WHERE batch_id = %(id)s""",
            given,
        )
    return str(given["id"])


def removed(database: Database, age_s: float, *states: str) -> Purged:
    """What was counted beforehand is what was removed."""
    old = OldWork(database, age_s, states) if states else OldWork(database, age_s)
    counted, total = old.counts(), sum(old.purge(), Purged())
    assert counted == total
    return total


def left(database: Database) -> dict[str, int]:
    tables = ("jobs", "batches", "calls")
    return {name: database.query(f"SELECT count(*) AS n FROM {name}")[0]["n"] for name in tables}


def test_what_ended_long_ago_goes_with_its_calls_and_the_rest_stays(stack: Stack, database: Database) -> None:
    ledger = Ledger(database)
    gone = ended(database)
    batch = ended_batch(database, {"succeeded": 3, "failed": 2})
    kept = [ended(database, age_s=OLD_S - 30 * DAY_S), ledger.accept(Target("complete", "groq"), NewJob("{}"))]
    young = ended_batch(database, {"succeeded": 2}, age_s=DAY_S)
    open_batch, _ = ledger.accept_batch(Target("complete", "groq"), [NewJob("{}")])
    assert removed(database, 90 * DAY_S) == Purged(jobs=6, batches=1)
    assert removed(database, 90 * DAY_S) == Purged()
    with pytest.raises(UnknownNameError):
        ledger.job(str(gone))
    with pytest.raises(UnknownNameError):
        ledger.batch(batch)
    assert [ledger.job(str(job_id)).state for job_id in kept] == ["succeeded", "queued"]
    assert len(list(ledger.jobs_of_batch(young))) == 2
    assert ledger.batch(str(open_batch)).queued == 1
    assert left(database) == {"jobs": 5, "batches": 2, "calls": 3}


def test_by_state_and_a_batch_by_the_state_that_it_shows(database: Database) -> None:
    for state in ("succeeded", "failed", "cancelled"):
        ended(database, state)
    ended_batch(database, {"succeeded": 5})
    mixed = ended_batch(database, {"succeeded": 5, "failed": 1, "cancelled": 1})
    ended_batch(database, {"succeeded": 5, "cancelled": 2})
    assert Ledger(database).batch(mixed).state == "failed"
    assert removed(database, 90 * DAY_S, "failed") == Purged(1 + 7, 1)
    assert removed(database, 90 * DAY_S, "cancelled") == Purged(1 + 7, 1)
    assert removed(database, 90 * DAY_S, "succeeded") == Purged(1 + 5, 1)
    assert left(database) == {"jobs": 0, "batches": 0, "calls": 0}


def test_more_than_a_page(database: Database) -> None:
    big = PAGE_JOBS * 2 + 1
    batch = ended_batch(database, {"succeeded": big})
    with database.transaction() as connection:
        connection.execute("UPDATE jobs SET batch_id = NULL, seq = NULL, id = id WHERE seq > %s", [PAGE_JOBS])
        connection.execute("UPDATE batches SET total = %s WHERE id = %s", [PAGE_JOBS + 1, batch])
    single = big - PAGE_JOBS - 1
    pages = list(OldWork(database, 0.0).purge())  # random ids are newer than now, as of a clock that goes ahead
    assert pages[0] == Purged(PAGE_JOBS + 1, 1)
    old = OldWork(database, 0.0)
    old._given["before"] = UUID(int=2**128 - 1)
    assert sum(old.purge(), Purged()) + sum(pages, Purged()) == Purged(single + PAGE_JOBS + 1, 1)
    assert left(database) == {"jobs": 0, "batches": 0, "calls": 0}


def test_a_batch_is_removed_whole_or_not_at_all(database: Database) -> None:
    """One of its jobs is in somebody's hands: run again at this moment, or the remover is told to stop half-way."""
    batch = ended_batch(database, {"failed": PAGE_JOBS + 10})
    other = ended_batch(database, {"succeeded": 1})
    with database.transaction() as connection:
        connection.execute("SELECT 1 FROM jobs WHERE batch_id = %s AND seq = %s FOR UPDATE", [batch, PAGE_JOBS + 5])
        assert next(OldWork(database, 1.0).purge()) == Purged(1, 1), "the other one: nobody is waited for"
    with pytest.raises(UnknownNameError):
        Ledger(database).batch(other)
    assert len(list(Ledger(database).jobs_of_batch(batch))) == PAGE_JOBS + 10
    asked = count()
    assert sum(OldWork(database, 1.0, stopping=lambda: next(asked) > 1).purge(), Purged()) == Purged()
    assert left(database)["jobs"] == left(database)["calls"] == PAGE_JOBS + 10


def test_removing_and_running_again_at_once(database: Database) -> None:
    """Whoever comes first has the batch; it never ends up half there."""
    batches = [ended_batch(database, {"failed": 50}) for _ in range(20)]

    def rerun(batch: str) -> int:
        return sum(total for _, _, total in SelectedJobs(database, Selection(batch_id=batch)).rerun(250))

    with ThreadPoolExecutor(6) as threads:
        purges = [threads.submit(lambda: sum(OldWork(database, 1.0).purge(), Purged())) for _ in range(3)]
        again = list(threads.map(rerun, reversed(batches)))
        gone = sum((purge.result() for purge in purges), Purged())
    assert set(again) <= {0, 50}
    assert sum(again) + gone.jobs == 1000
    assert left(database)["batches"] == len([n for n in again if n]) == 20 - gone.batches


def test_results_that_are_removed_while_they_are_read_are_not_taken_for_whole(database: Database) -> None:
    batch = ended_batch(database, {"succeeded": 1500})
    ledger = Ledger(database)
    readings = (ledger.jobs_of_batch(batch), EndedJobs(database, batch).take(ledger.batch(batch)))
    for reading in readings:
        next(reading)
    assert removed(database, DAY_S).batches == 1
    for reading in readings:
        with pytest.raises(UnknownNameError):
            list(reading)


def test_workers_go_on_while_a_large_batch_is_removed(database: Database) -> None:
    """At each step of its one transaction a job goes from acceptance to its end, and a sweeper makes its round."""
    ended_batch(database, {"succeeded": PAGE_JOBS * 5})
    ledger, work = Ledger(database), WorkLedger(database, "w")
    work.renew_lease(600)
    done = list[str]()

    def meanwhile() -> bool:
        job_id = ledger.accept(Target("complete", "groq"), NewJob("{}"))
        (claim,) = work.claim([job_id])
        work.begin_calls([CallStart(job_id, claim.fence, 1, Origin("groq", 1, 1, "m"))])
        assert work.record([Settlement(job_id, claim.fence, "succeeded", 1, "{}")]) == [True]
        work.mend_lost(3)
        assert work.take_overdue(0.0, ["bulk", "interactive"], 100, 10) == []
        assert work.starved_batches() == []
        done.append(ledger.job(str(job_id)).state)
        return False

    assert next(OldWork(database, DAY_S, stopping=meanwhile).purge()) == Purged(PAGE_JOBS * 5, 1)
    assert done == ["succeeded"] * 6


def test_the_command(stack: Stack, database: Database, tmp_path: Path) -> None:
    ticketflow = Command(stack.operator_environment, tmp_path)
    ended(database)
    ended_batch(database, {"failed": 3})
    assert "spend" in ticketflow("jobs", "purge", "--help").out
    for arguments, word in [
        (("--older-than", "90"), "such as 30m, 12h or 7d"),
        (("--older-than", "90d", "--state", "queued"), "no state of what has ended named 'queued'"),
        (("--older-than", "90d"), "remove 4 jobs, 1 whole batches among them for good? Nobody can be asked"),
    ]:
        refused = ticketflow("jobs", "purge", *arguments, "--json")
        assert refused.status == 2
        assert word in json.loads(refused.out)["error"]["message"]
    assert left(database)["jobs"] == 4
    assert ticketflow("jobs", "purge", "--older-than", "101d", "--json").document == {"jobs": 0, "batches": 0}
    assert ticketflow("jobs", "purge", "--older-than", "9999999w").out == "removed 0 jobs\n"
    purged = ticketflow("jobs", "purge", "--older-than", "90d", "--state", "failed", "--yes", "--json")
    assert purged.document == {"jobs": 3, "batches": 1}
    assert ticketflow("jobs", "purge", "--older-than", "90d", "--yes").out == "removed 1 jobs\n"


def test_retry_is_for_jobs_that_failed(stack: Stack, database: Database, tmp_path: Path) -> None:
    ticketflow = Command(stack.operator_environment, tmp_path)
    failed, other = (str(ended(database, "failed", age_s=1)) for _ in range(2))
    fine = str(ended(database, age_s=1))
    for name, word in [
        (fine, "has not failed: it is succeeded"),
        (str(new_id()), "no job named"),
        ("x", "no job named"),
    ]:
        refused = ticketflow("jobs", "retry", failed, name, "--json")
        assert (refused.status, word in json.loads(refused.out)["error"]["message"]) == (2, True)
    assert Ledger(database).job(failed).state == "failed", "all or none"
    assert ticketflow("jobs", "retry", failed, other, failed, "--json").document == {"queued": 2}
    assert {Ledger(database).job(name).state for name in (failed, other)} == {"queued"}
    assert ticketflow("jobs", "retry", failed).status == 2, "it waits already"


def test_workers_remove_what_is_older_than_the_setting_says(stack: Stack, database: Database, tmp_path: Path) -> None:
    ended(database)
    ended_batch(database, {"succeeded": 5})
    kept = ended(database, age_s=DAY_S)
    keep = {"TICKETFLOW_RETENTION_DAYS": "90", "TICKETFLOW_SWEEP_INTERVAL_S": "0.2"}
    with WorkerProcess({**stack.worker_environment, **keep}, tmp_path / "worker.log") as worker:
        wait_for(lambda: left(database)["jobs"] == 1, "removal")
        wait_for(lambda: "removed 6 jobs, 1 whole batches" in worker.log.read_text(), "a line in the log")
        wait_for(lambda: [p.purged for p in living(stack.worker_environment)] == [6], "its count")
        shown = Command(stack.operator_environment, tmp_path)("workers").out
        assert "MENDED" in shown
        assert "6 purged" in shown
    assert Ledger(database).job(str(kept)).state == "succeeded"


def test_without_the_setting_nothing_is_removed_and_what_is_mended_is_shown(
    stack: Stack, database: Database, tmp_path: Path
) -> None:
    ended(database)
    with LLMServer() as llm, Producer(stack.settings) as producer:
        add_local(producer, llm, "custom-x")
        job_id = producer.ledger.accept(Target("complete", "custom-x"), NewJob('{"prompt": "x"}'))
        batch, _ = producer.ledger.accept_batch(Target("complete", "custom-x"), [NewJob('{"prompt": "y"}')])
        database.query("UPDATE jobs SET sent_at = '2020-01-01' WHERE id = %(id)s", {"id": job_id})
        lost = producer.ledger.accept(Target("complete", "custom-x"), NewJob('{"prompt": "z"}'))
        assert WorkLedger(database, "somebody who died").claim([lost])
        often = {"TICKETFLOW_SWEEP_INTERVAL_S": "0.2"}
        with WorkerProcess({**stack.worker_environment, **often}, tmp_path / "worker.log"):
            for handle in (producer.job(str(job_id)), producer.job(str(lost)), producer.batch(str(batch))):
                assert handle.wait(30).state == "succeeded"
            wait_for(lambda: [p.put_back for p in living(stack.worker_environment)] == [1], "its counts")
            (worker,) = living(stack.worker_environment)
            assert worker.sent_again >= 1
            assert worker.purged == 0
            shown = Command(stack.operator_environment, tmp_path)("workers").out
            assert "1 put back" in shown
            assert "sent again" in shown
    assert left(database)["jobs"] == 4
