"""The ledger on a real Postgres: jobs are claimed once, settled once, counted right, and outlive their workers."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from config.database import Database
from config.errors import InvalidInputError, ServiceUnavailableError, UnknownNameError
from jobs.hints import Hint
from jobs.ids import new_id
from jobs.kind import NewJob
from jobs.ledger import Ledger
from jobs.migrate import applied_revision, migrate, newest_revision
from jobs.records import CallEnd, CallStart, Claim, Origin, Release, Settlement
from jobs.terms import Target
from jobs.work import WorkLedger, release
from tests.conftest import Stack
from tests.support.waiting import wait_for

TARGET = Target("complete", "groq", "some-model")
ORIGIN = Origin("groq", 7, 3, "some-model")


def inputs(count: int) -> Iterator[NewJob]:
    return (NewJob(f'{{"prompt": "p{n}"}}', f"c{n}") for n in range(count))


def batch_of(ledger: Ledger, count: int) -> tuple[str, list[UUID]]:
    batch_id, _ = ledger.accept_batch(TARGET, inputs(count))
    return str(batch_id), ids_of(ledger, batch_id)


def ids_of(ledger: Ledger, batch_id: UUID) -> list[UUID]:
    """In the order of the input."""
    return [UUID(job.job_id) for job in ledger.jobs_of_batch(str(batch_id))]


def succeeded(claim: Claim) -> Settlement:
    return Settlement(claim.job_id, claim.fence, "succeeded", 1, '{"text": "x"}', None, None, 10, 5, ORIGIN)


def test_a_job_from_acceptance_to_result(ledger: Ledger, work: WorkLedger) -> None:
    job_id = ledger.accept(TARGET, NewJob('{"prompt": "a\\u0000b"}', "mine"))
    assert ledger.job(str(job_id)).state == "queued"
    (claim,) = work.claim([job_id])
    assert (claim.input, claim.model) == ('{"prompt": "a\\u0000b"}', "some-model")
    assert work.begin_calls([CallStart(job_id, claim.fence, 1, ORIGIN)]) == ["begun"]
    assert ledger.calls(str(job_id))[0].outcome is None
    assert work.record([CallEnd(job_id, 1, "succeeded", 200, 10, 5), succeeded(claim)]) == [True, True]
    job = ledger.job(str(job_id))
    assert (job.state, job.result, job.custom_id) == ("succeeded", {"text": "x"}, "mine")
    assert (job.provider_generation, job.key_version, job.attempts) == (7, 3, 1)
    assert (job.usage.input_tokens, job.usage.output_tokens) == (10, 5)
    assert job.duration_ms is not None
    assert [(c.outcome, c.status) for c in ledger.calls(str(job_id))] == [("succeeded", 200)]


def test_a_job_is_claimed_once_whoever_asks(ledger: Ledger, database: Database) -> None:
    _, ids = batch_of(ledger, 400)
    start = threading.Barrier(8)

    def claim(number: int) -> list[Claim]:
        start.wait(10)
        return WorkLedger(database, f"w{number}").claim(ids)

    with ThreadPoolExecutor(8) as threads:
        claims = [c for claimed in threads.map(claim, range(8)) for c in claimed]
    assert sorted(c.job_id for c in claims) == sorted(ids)


def test_only_the_newest_claim_settles_and_only_once(ledger: Ledger, work: WorkLedger) -> None:
    job_id = ledger.accept(TARGET, NewJob("{}"))
    (old,) = work.claim([job_id])
    assert work.record([Release(job_id, old.fence, 1)]) == [True]
    (new,) = work.claim([job_id])
    assert new.fence > old.fence
    assert new.attempts == 1
    assert work.begin_calls([CallStart(job_id, old.fence, 2, ORIGIN)]) == ["lost"], "no intent, so no paid call"
    assert work.record([Settlement(job_id, old.fence, "failed", 1)]) == [False]
    assert work.record([Release(job_id, old.fence, 1)]) == [False]
    assert work.record([succeeded(new)]) == [True]
    assert work.record([Settlement(job_id, new.fence, "failed", 9)]) == [False]
    assert ledger.job(str(job_id)).state == "succeeded"


def test_a_claim_that_postgres_forgot_in_a_crash_is_worth_nothing(
    ledger: Ledger, work: WorkLedger, database: Database
) -> None:
    job_id = ledger.accept(TARGET, NewJob("{}"))
    moved = "state", "worker_id", "fence", "started_at"
    (before,) = database.query(f"SELECT id, {', '.join(moved)} FROM jobs WHERE id = %(id)s", {"id": job_id})
    (forgotten,) = work.claim([job_id])
    database.query(f"UPDATE jobs SET {', '.join(f'{name} = %({name})s' for name in moved)} WHERE id = %(id)s", before)
    (claim,) = WorkLedger(database, "worker-2").claim([job_id])
    assert work.begin_calls([CallStart(job_id, forgotten.fence, 1, ORIGIN)]) == ["lost"], "nothing is paid for twice"
    assert work.record([Release(job_id, forgotten.fence, 0)]) == [False], "nor taken from who has it now"
    assert work.record([succeeded(forgotten)]) == [False]
    assert WorkLedger(database, "worker-2").begin_calls([CallStart(job_id, claim.fence, 1, ORIGIN)]) == ["begun"]


def test_a_claim_is_on_the_disk_once_an_intent_is_entered(ledger: Ledger, work: WorkLedger, database: Database) -> None:
    """Which is when money is about to be spent; a claim alone does not wait for the disk."""
    written = "SELECT pg_current_wal_insert_lsn()::text AS lsn"
    flushed = "SELECT pg_current_wal_flush_lsn() >= %(lsn)s::pg_lsn AS done"
    (claim,) = work.claim([ledger.accept(TARGET, NewJob("{}"))])
    (claimed,) = database.query(written)
    assert work.begin_calls([CallStart(claim.job_id, claim.fence, 1, ORIGIN)]) == ["begun"]
    assert database.query(flushed, claimed) == [{"done": True}]
    assert database.query("SHOW synchronous_commit") == [{"synchronous_commit": "on"}]


def test_counters_of_a_batch_follow_every_move(ledger: Ledger, work: WorkLedger) -> None:
    batch_id, ids = batch_of(ledger, 10)
    claims = work.claim(ids)
    batch = ledger.batch(batch_id)
    assert (batch.state, batch.total, batch.queued, batch.running) == ("running", 10, 0, 10)
    failed = [Settlement(c.job_id, c.fence, "failed", 1, error_type="E", error_message="m") for c in claims[:2]]
    work.record([*failed, *map(succeeded, claims[2:9]), Release(claims[9].job_id, claims[9].fence, 1)])
    batch = ledger.batch(batch_id)
    assert (batch.queued, batch.running, batch.succeeded, batch.failed) == (1, 0, 7, 2)
    assert (batch.input_tokens, batch.output_tokens) == (70, 35)
    assert not batch.done
    work.record([succeeded(*work.claim([claims[9].job_id]))])
    batch = ledger.batch(batch_id)
    assert batch.done
    assert batch.state == "failed", "a batch with failed jobs says so"
    assert [job.custom_id for job in ledger.jobs_of_batch(batch_id)] == [f"c{n}" for n in range(10)]
    assert [job.error.type for job in ledger.jobs_of_batch(batch_id) if job.error] == ["E", "E"]


def test_many_settle_the_same_batches_at_once(ledger: Ledger, database: Database) -> None:
    """Groups that touch the same two batches in different orders: no deadlock, no count lost."""
    batches = [batch_of(ledger, 200) for _ in range(2)]
    ids = [job_id for pair in zip(batches[0][1], batches[1][1], strict=True) for job_id in pair]

    def run(part: int) -> None:
        work = WorkLedger(database, f"w{part}")
        mine = ids[part::8] if part % 2 else ids[part::8][::-1]
        for start in range(0, len(mine), 10):
            work.record([succeeded(claim) for claim in work.claim(mine[start : start + 10])])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(run, range(8)))
    for batch_id, _ in batches:
        batch = ledger.batch(batch_id)
        assert (batch.state, batch.succeeded, batch.running) == ("succeeded", 200, 0)


def test_a_batch_is_accepted_whole_or_not_at_all(ledger: Ledger, database: Database) -> None:
    def broken() -> Iterator[NewJob]:
        yield from inputs(500)
        raise InvalidInputError(((501, "bad"),))

    with pytest.raises(InvalidInputError):
        ledger.accept_batch(TARGET, broken())
    assert database.query("SELECT (SELECT count(*) FROM jobs) + (SELECT count(*) FROM batches) AS n") == [{"n": 0}]


def test_a_stream_may_come_as_slowly_as_it_likes(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export that is piped in pauses for longer than Postgres lets a statement, or an idle transaction, live."""
    monkeypatch.setattr("config.database.STATEMENT_TIMEOUT_MS", 500)
    monkeypatch.setattr("config.database.IDLE_TIMEOUT_MS", 500)
    database = Database(stack.settings.database_url, "slow")
    others = "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = 'slow' AND pid <> pg_backend_pid()"

    def slow() -> Iterator[NewJob]:
        for number, job in enumerate(inputs(3000)):
            if number % 1000 == 500:
                time.sleep(0.6)
                assert database.query(f"{others} AND xact_start IS NOT NULL") == [{"n": 0}], "nothing is open meanwhile"
            yield job

    ledger = Ledger(database)
    batch_id, is_new = ledger.accept_batch(TARGET, slow(), "night")
    assert is_new
    assert [job.custom_id for job in ledger.jobs_of_batch(str(batch_id))] == [f"c{n}" for n in range(3000)]
    assert ledger.accept_batch(TARGET, slow(), "night") == (batch_id, False)
    database.close()


def test_a_batch_of_many_parts_is_written_whole_and_in_order(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.ledger.COPY_BYTES", 1000)
    batch_id, _ = ledger.accept_batch(TARGET, inputs(500))
    jobs = list(ledger.jobs_of_batch(str(batch_id)))
    assert [job.custom_id for job in jobs] == [f"c{n}" for n in range(500)]
    assert ledger.batch(str(batch_id)).total == 500


def test_who_asks_for_the_next_jobs_at_once_gets_others(ledger: Ledger, database: Database, work: WorkLedger) -> None:
    batch_id, _ = ledger.accept_batch(TARGET, inputs(6000))

    def take(_: int) -> list[UUID]:
        taken: list[UUID] = []
        while claims := work.claim([], next_jobs={batch_id: 20}):
            assert len(claims) <= 20
            taken += [claim.job_id for claim in claims]
        return taken

    with ThreadPoolExecutor(6) as threads:
        taken = [job_id for some in threads.map(take, range(6)) for job_id in some]
    assert sorted(taken) == sorted(ids_of(ledger, batch_id))
    assert ledger.batch(str(batch_id)).running == 6000


def test_a_postgres_that_is_away_is_told_before_the_stream_is_read() -> None:
    def unread() -> Iterator[NewJob]:
        pytest.fail("it was read")
        yield NewJob("{}")

    database = Database("postgresql://ticketflow@127.0.0.1:1/none", "test")
    with pytest.raises(ServiceUnavailableError):
        Ledger(database).accept_batch(TARGET, unread())
    database.close()


def test_an_empty_batch_is_done(ledger: Ledger) -> None:
    assert ledger.batch(str(ledger.accept_batch(TARGET, [])[0])).done


def test_next_jobs_are_taken_once_and_in_order(ledger: Ledger, work: WorkLedger) -> None:
    batch_id, other_id = (ledger.accept_batch(TARGET, inputs(30))[0] for _ in range(2))
    order, others = ids_of(ledger, batch_id), ids_of(ledger, other_id)

    def take(**wanted: int) -> set[UUID]:
        return {claim.job_id for claim in work.claim([], next_jobs={ids[name]: n for name, n in wanted.items()})}

    ids = {"one": batch_id, "other": other_id}
    assert ledger.unsent_jobs(batch_id, 20) == ("groq", 20)
    assert take(one=20) == set(order[:20])
    assert ledger.unsent_jobs(batch_id, 20) == ("groq", 10)
    assert take(one=5, other=3) == {*order[20:25], *others[:3]}
    assert {claim.job_id for claim in work.claim([order[25]], next_jobs={batch_id: 2})} == set(order[25:27])
    ledger.pause(str(batch_id))
    assert (ledger.unsent_jobs(batch_id, 20), take(one=1)) == (("", 0), set())
    ledger.resume(str(batch_id))
    assert (take(one=20), take(one=1)) == (set(order[27:]), set())
    assert ledger.unsent_jobs(batch_id, 20) == ("groq", 0)


def test_what_goes_back_waits_by_itself_and_not_among_the_next(ledger: Ledger, work: WorkLedger) -> None:
    """Were it among them, each message for a provider that is left alone would take further jobs, in vain."""
    batch_id, _ = ledger.accept_batch(TARGET, inputs(5))
    claims = {claim.job_id: claim for claim in work.claim([], next_jobs={batch_id: 3})}
    order = ids_of(ledger, batch_id)
    first, second, third = (claims[job_id] for job_id in order[:3])
    work.record([Release(first.job_id, first.fence, 0), Release(second.job_id, second.fence, 0, 60.0)])
    assert {claim.job_id for claim in work.claim([], next_jobs={batch_id: 5})} == set(order[3:])
    work.record([Release(third.job_id, third.fence, 0)])
    ledger.pause(str(batch_id))
    ledger.resume(str(batch_id))
    assert ledger.unsent_jobs(batch_id, 9) == ("groq", 2), "given back by the pause; one waits for its time"
    assert {claim.job_id for claim in work.claim([], next_jobs={batch_id: 9})} == {first.job_id, third.job_id}


def test_a_pause_leaves_suspects_to_their_own_messages(ledger: Ledger, work: WorkLedger, database: Database) -> None:
    batch_id, (suspect, job_id, *_) = batch_of(ledger, 4)
    dead = WorkLedger(database, "dead")
    dead.renew_lease(30)
    assert len(dead.claim([suspect])) == 1
    dead.end_lease()
    assert mended(work.mend_lost(3)) == (1, 0)
    assert len(work.claim([job_id])) == 1
    ledger.pause(batch_id)
    ledger.resume(batch_id)
    work.unsend([suspect])
    assert suspect not in {claim.job_id for claim in work.claim([], next_jobs={UUID(batch_id): 9})}
    database.query("UPDATE jobs SET sent_at = now() - interval '9 s' WHERE id = %(id)s", {"id": suspect})
    assert [hint.job_ids for hint in work.take_overdue(5, ["bulk"], 10, 10)] == [(suspect,)]


def test_jobs_of_a_dead_worker_go_back_and_their_calls_are_counted_as_lost(
    ledger: Ledger, work: WorkLedger, database: Database
) -> None:
    batch_id, ids = batch_of(ledger, 3)
    claims = work.claim(ids)
    work.begin_calls([CallStart(claims[0].job_id, claims[0].fence, 1, ORIGIN)])
    other = WorkLedger(database, "worker-2")
    assert mended(other.mend_lost(3)) == (0, 0), "its lease stands"
    work.renew_lease(-1)
    assert mended(other.mend_lost(3)) == (3, 0)
    assert ledger.batch(batch_id).queued == 3
    assert ledger.calls(str(claims[0].job_id))[0].outcome == "lost"
    assert ledger.job(str(claims[0].job_id)).attempts == 1
    assert work.record([succeeded(claims[0])]) == [False], "the dead one may come back, and settles nothing"
    assert work.begin_calls([CallStart(claims[1].job_id, claims[1].fence, 1, ORIGIN)]) == ["lost"]


def test_a_job_that_kills_its_workers_is_failed_with_its_reason(ledger: Ledger, database: Database) -> None:
    batch_id, ids = batch_of(ledger, 1)
    sweeper = WorkLedger(database, "sweeper")
    for life in range(3):
        victim = WorkLedger(database, f"victim-{life}")
        assert victim.claim(ids)  # and dies: it never had a lease
        assert mended(sweeper.mend_lost(3)) == ((1, 0) if life < 2 else (0, 1))
    (job,) = ledger.jobs_of_batch(batch_id)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error.type == "WorkerLostError"
    assert "3 times" in job.error.message
    assert ledger.batch(batch_id).done


def test_of_a_dead_workers_jobs_the_most_suspicious_are_blamed(ledger: Ledger, database: Database) -> None:
    _, ids = batch_of(ledger, 4)
    sweeper = WorkLedger(database, "sweeper")
    for life, jobs in enumerate((ids[:2], ids[1:3], ids[1:])):
        victim = WorkLedger(database, f"victim-{life}")
        assert len(victim.claim(jobs)) == len(jobs)  # and dies: it never had a lease
        sweeper.mend_lost(3)
    assert sweeper.suspects(ids) == {ids[0]: 1}, "job 1 has failed, and nobody else is blamed for its second and third"
    assert ledger.job(str(ids[1])).state == "failed"
    assert {claim.job_id for claim in sweeper.claim(ids, suspects=False)} == {*ids[2:]}
    assert [claim.job_id for claim in sweeper.claim(ids)] == [ids[0]]


def test_nobody_is_judged_before_all_had_time_to_renew(ledger: Ledger, work: WorkLedger, database: Database) -> None:
    _, ids = batch_of(ledger, 2)
    sweeper = WorkLedger(database, "sweeper")
    assert work.claim(ids)
    work.renew_lease(-1)
    sweeper.renew_lease(15)
    assert mended(sweeper.mend_lost(3, patience_s=7.5)) == (0, 0), "Postgres may have just come back"
    age = "UPDATE workers SET renewed_at = now() - %(ago)s * interval '1 s', steady_since = now() - interval '60 s'"
    database.query(age, {"ago": 9})
    assert mended(sweeper.mend_lost(3, patience_s=7.5)) == (0, 0), "it may be as dead as the other"
    sweeper.renew_lease(15)
    assert mended(sweeper.mend_lost(3, patience_s=7.5)) == (0, 0), "it has just come back"
    database.query(age + " WHERE id = 'sweeper'", {"ago": 5})
    sweeper.renew_lease(15)
    assert mended(sweeper.mend_lost(3, patience_s=7.5)) == (2, 0)


def test_a_newcomer_judges_by_the_record_of_the_dead(ledger: Ledger, work: WorkLedger, database: Database) -> None:
    """Where processes are killed one after another none need have lived for half a lease."""
    _, ids = batch_of(ledger, 2)
    age = "UPDATE workers SET renewed_at = now() - %(ago)s * interval '1 s', steady_since = now() - interval '8 s'"
    assert work.claim(ids)
    work.renew_lease(-1)
    for life, ago in enumerate((9, 5)):
        database.query(age, {"ago": ago})
        newcomer = WorkLedger(database, f"newcomer-{life}")
        newcomer.renew_lease(15)
        assert mended(newcomer.mend_lost(3, patience_s=7.5)) == ((2, 0) if ago == 5 else (0, 0)), ago


def test_a_wait_is_kept_and_overdue_hints_come_again(ledger: Ledger, work: WorkLedger) -> None:
    _, ids = batch_of(ledger, 5)
    claims = work.claim(ids)
    waits = [60.0, 0.0, 0.0, 0.0, 0.0]
    work.record([Release(claim.job_id, claim.fence, 1, wait_s) for claim, wait_s in zip(claims, waits, strict=True)])
    assert work.claim([claims[0].job_id]) == [], "not before its time"
    hints = work.take_overdue(-1.0, ["bulk"], 100, 3)
    assert [len(hint.job_ids) for hint in hints] == [3, 1]
    assert {job_id for hint in hints for job_id in hint.job_ids} == {*ids} - {claims[0].job_id}
    assert work.take_overdue(5.0, ["bulk"], 100, 3) == [], "just sent"
    assert work.take_overdue(-1.0, ["interactive"], 100, 3) == []


def test_so_many_of_each_provider_come_along_besides_those_that_are_named(ledger: Ledger, work: WorkLedger) -> None:
    ids = sorted(ledger.accept(TARGET, job) for job in inputs(6))
    others = sorted(ledger.accept(Target("complete", "gemini", "m"), job) for job in inputs(3))
    claims = work.claim(ids[:1], {"groq": 3, "gemini": 1})
    assert sorted(claim.job_id for claim in claims) == sorted([*ids[:4], others[0]])


def test_overdue_single_jobs_of_a_full_provider_are_left_to_others_but_for_suspects(
    ledger: Ledger, work: WorkLedger, database: Database
) -> None:
    suspect, waiting = (ledger.accept(TARGET, job) for job in inputs(2))
    dead = WorkLedger(database, "dead")
    dead.renew_lease(30)
    assert len(dead.claim([suspect])) == 1
    dead.end_lease()
    assert mended(work.mend_lost(3)) == (1, 0)
    _, in_batch = batch_of(ledger, 1)
    work.record([Release(c.job_id, c.fence, 0) for c in work.claim(in_batch)])
    database.query("UPDATE jobs SET sent_at = now() - interval '9 s'")
    overdue = {
        job_id for hint in work.take_overdue(5, ["bulk", "interactive"], 100, 10, ["groq"]) for job_id in hint.job_ids
    }
    assert overdue == {suspect, *in_batch}
    assert [hint.job_ids for hint in work.take_overdue(5, ["interactive"], 100, 10, ["gemini"])] == [(waiting,)]


def test_a_job_that_goes_back_while_it_is_cancelled_is_cancelled(
    database: Database, ledger: Ledger, work: WorkLedger
) -> None:
    batch_id, ids = batch_of(ledger, 2)
    (claim,) = work.claim(ids[:1])
    blocked = (
        "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with ThreadPoolExecutor(1) as threads:
        with database.transaction() as connection:
            release(connection, [Release(claim.job_id, claim.fence, 1)])
            cancelling = threads.submit(ledger.cancel_batch, batch_id)
            wait_for(lambda: database.query(blocked)[0]["n"], "a cancellation that waits for the row")
        assert cancelling.result(20) == (2, 0)
    ended = ledger.batch(batch_id)
    assert (ended.cancelled, ended.queued, ended.running, ended.done) == (2, 0, 0, True)


def test_where_a_job_stands_with_its_providers_is_kept(ledger: Ledger, work: WorkLedger) -> None:
    target = Target("complete", "groq", "some-model", fallbacks=("openai", "gemini"), fail_fast=True)
    job_id = ledger.accept(target, NewJob('{"prompt": "a"}'))
    (claim,) = work.claim([job_id])
    assert (claim.fallbacks, claim.fallback_position, claim.fail_fast) == (["openai", "gemini"], 0, True)
    stand = {"retries_from": 2, "fallback_position": 1, "fallback_reason": "ProviderServerError: groq answered 503"}
    work.record([Release(job_id, claim.fence, 2, 0.0, 0, 0, **stand)])  # type: ignore[arg-type]
    (again,) = work.claim([job_id])
    assert {name: getattr(again, name) for name in stand} == stand
    work.record([Release(job_id, again.fence, 3, 900.0)])
    waiting = ledger.job(str(job_id))
    assert waiting.fallback_reason == stand["fallback_reason"], "a sweeper that puts it back knows nothing of it"
    assert waiting.next_attempt_at is not None
    assert (waiting.next_attempt_at - waiting.created_at).total_seconds() >= 900
    assert waiting.fallbacks == ("openai", "gemini")


def test_how_long_a_job_was_tried_for(database: Database, ledger: Ledger, work: WorkLedger) -> None:
    """Single jobs since their first claim, those of batches since their first call: a batch waits for its turns."""
    single = ledger.accept(TARGET, NewJob('{"prompt": "a"}'))
    _, (bulk,) = batch_of(ledger, 1)
    claims = {claim.job_id: claim for claim in work.claim([single, bulk])}
    assert claims[bulk].tried_s is None
    assert (claims[single].tried_s or 0.0) >= 0.0
    assert work.begin_calls([CallStart(bulk, claims[bulk].fence, 1, ORIGIN)]) == ["begun"]
    work.record([CallEnd(bulk, 1, "ProviderServerError", 503)])
    work.record([Release(bulk, claims[bulk].fence, 1), Release(single, claims[single].fence, 0)])
    database.query("UPDATE calls SET started_at = started_at - interval '100 s'")
    database.query("UPDATE jobs SET started_at = started_at - interval '300 s'")
    again = {claim.job_id: claim.tried_s or 0.0 for claim in work.claim([single, bulk])}
    assert 100 <= again[bulk] < 300 <= again[single]
    (call,) = ledger.calls(str(bulk))
    assert (call.wait_ms, call.outcome) == (None, "ProviderServerError")


def test_a_batch_that_nobody_feeds_is_found(ledger: Ledger, work: WorkLedger, database: Database) -> None:
    batch_id, _ = ledger.accept_batch(TARGET, inputs(5))
    assert work.starved_batches() == [batch_id]
    one, two = work.claim([], next_jobs={batch_id: 2})
    assert (work.starved_batches(), ledger.put_back(9)) == ([], 0), "jobs run"
    work.record([succeeded(one), Release(two.job_id, two.fence, 0, 60.0)])
    assert (work.starved_batches(), ledger.put_back(9)) == ([], 1), "one is to be run again"
    assert ledger.put_back(0) == 0
    database.query("UPDATE jobs SET not_before = '-infinity' WHERE id = %(id)s", {"id": two.job_id})
    work.record([succeeded(*work.claim([two.job_id]))])
    assert (work.starved_batches(), ledger.put_back(9)) == ([batch_id], 0)
    database.query("UPDATE jobs SET not_before = now() + interval '1 h' WHERE state = 'queued'")
    assert work.starved_batches() == [], "nothing of it can run now"


def mended(done: tuple[list[Hint], int]) -> tuple[int, int]:
    """How many jobs were put back, and how many failed."""
    return sum(len(hint.job_ids) for hint in done[0]), done[1]


def test_what_does_not_exist(ledger: Ledger) -> None:
    for name in (str(new_id()), "no-id", ""):
        with pytest.raises(UnknownNameError):
            ledger.job(name)
        with pytest.raises(UnknownNameError):
            ledger.batch(name)


def test_a_database_without_tables_says_what_to_do(servers: object, stack: Stack) -> None:
    empty = Database(stack.settings.database_url.rsplit("/", 1)[0] + "/postgres", "test")
    with pytest.raises(ServiceUnavailableError, match="ticketflow db migrate"):
        Ledger(empty).job(str(new_id()))
    assert applied_revision(empty) is None
    empty.close()


def test_migrations_may_run_twice_and_at_once(stack: Stack, database: Database) -> None:
    with ThreadPoolExecutor(4) as threads:
        revisions = set(threads.map(lambda _: migrate(stack.settings.database_url), range(4)))
    assert revisions == {newest_revision()} == {applied_revision(database)}


def test_postgres_away_is_said_with_its_address_and_no_password() -> None:
    away = Database("postgresql://me:s3cret@127.0.0.1:1/db", "test")
    with pytest.raises(ServiceUnavailableError, match=r"Postgres at 127.0.0.1:1/db .*refused") as caught:
        away.query("SELECT 1")
    assert "s3cret" not in str(caught.value)
    away.close()


def test_cut_connections_are_replaced(database: Database) -> None:
    (me,) = database.query("SELECT pg_backend_pid() AS pid")
    other = Database(database._url, "killer")
    other.query("SELECT pg_terminate_backend(%(pid)s, 10000)", {"pid": me["pid"]})  # and waits for its end
    other.close()
    assert database.query("SELECT 1 AS one") == [{"one": 1}]


def test_a_transaction_that_stands_still_is_ended_and_counts_as_an_outage(database: Database) -> None:
    other = Database(database._url, "witness")
    count = "SELECT count(*) AS n FROM pg_stat_activity WHERE pid = %(pid)s"

    def stand_still() -> None:
        with database.transaction() as connection:
            me = {"pid": connection.info.backend_pid}
            connection.execute("SET LOCAL idle_in_transaction_session_timeout = 50")
            wait_for(lambda: other.query(count, me) == [{"n": 0}], "end of the session")
            connection.execute("SELECT 1")

    with pytest.raises(ServiceUnavailableError):
        stand_still()
    other.close()
    assert database.query("SHOW idle_in_transaction_session_timeout") == [
        {"idle_in_transaction_session_timeout": "10s"}
    ]


def test_a_standby_counts_as_an_outage(database: Database) -> None:
    def write() -> None:
        with database.transaction() as connection:
            connection.execute("SET TRANSACTION READ ONLY")
            connection.execute("UPDATE registry SET generation = generation")

    with pytest.raises(ServiceUnavailableError, match="ReadOnlySqlTransaction"):
        write()


def test_an_intent_whose_answer_was_lost_may_be_sent_again(ledger: Ledger, work: WorkLedger) -> None:
    job_id = ledger.accept(TARGET, NewJob("{}"))
    (claim,) = work.claim([job_id])
    start = CallStart(job_id, claim.fence, 1, ORIGIN)
    assert work.begin_calls([start]) == work.begin_calls([start]) == ["begun"]
    work.record([CallEnd(job_id, 1, "succeeded", 200)])
    assert work.begin_calls([start]) == ["lost"], "a call that has ended is not made again"


def test_an_intent_and_a_sweeper_at_once(ledger: Ledger, work: WorkLedger, database: Database) -> None:
    """A worker whose lease has run out begins a call while another takes its job back: either one comes first."""
    sweeper = WorkLedger(database, "sweeper")
    with ThreadPoolExecutor(2) as threads:
        for _ in range(30):
            job_id = ledger.accept(TARGET, NewJob("{}"))
            (claim,) = work.claim([job_id])
            work.renew_lease(-1)
            start = threads.submit(work.begin_calls, [CallStart(job_id, claim.fence, 1, ORIGIN)])
            mending = threads.submit(sweeper.mend_lost, 3)
            may_call = start.result() == ["begun"]
            mending.result()
            sweeper.mend_lost(3)
            job = ledger.job(str(job_id))
            assert (job.state, job.attempts) == ("queued", int(may_call)), "a call that may be made is counted"
            assert [call.outcome for call in ledger.calls(str(job_id))] == ["lost"] * may_call
            (again,) = work.claim([job_id])
            assert again.attempts == may_call
            work.record([succeeded(again)])


def test_an_open_intent_of_another_worker_is_not_ours(ledger: Ledger, work: WorkLedger, database: Database) -> None:
    job_id = ledger.accept(TARGET, NewJob("{}"))
    (claim,) = work.claim([job_id])
    start = CallStart(job_id, claim.fence, 1, ORIGIN)
    assert work.begin_calls([start]) == ["begun"]
    assert WorkLedger(database, "worker-2").begin_calls([start]) == ["lost"]


def test_a_claim_whose_answer_was_lost_comes_back(ledger: Ledger, work: WorkLedger) -> None:
    _, ids = batch_of(ledger, 3)
    claims = work.claim(ids)
    work.begin_calls([CallStart(claims[0].job_id, claims[0].fence, 1, ORIGIN)])
    assert work.in_hand() == {claim.job_id: claim.fence for claim in claims}
    orphans = {claims[0].job_id: claims[0].fence, claims[1].job_id: 99}
    assert mended(work.mend_lost(1, orphans)) == (1, 0), "by the fence; no death, no loss"
    assert ledger.calls(str(claims[0].job_id))[0].outcome == "lost"
    assert set(work.in_hand()) == {claims[1].job_id, claims[2].job_id}
    (again,) = work.claim([claims[0].job_id])
    assert again.attempts == 1
