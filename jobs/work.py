"""The worker's side of the ledger: claims under a fence, calls, settlements, leases, and what the sweeper mends.

Every method is one statement or one transaction, takes groups, and may raise ServiceUnavailableError; whoever calls
decides whether to wait. None of them can settle a job whose fence has moved on.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from config.database import Connection, Database
from config.errors import WorkerLostError
from jobs.hints import Hint, group_hints
from jobs.records import CallEnd, CallStart, Claim, Earlier, Entry, Origin, Release, Room, Settlement, Verdict, Wanted
from jobs.statements import statement

SWEEPER_LOCK = 0x737765657020  # "sweep "
RESEND_LOCK = SWEEPER_LOCK + 1
SWEEP_LIMIT = 2000


class WorkLedger:
    """Claims, calls and settlements of one worker process.

    Args:
        database: Postgres.
        worker_id: the process' name in leases and calls.
        told: called with single jobs that have ended, once that is in the ledger.
    """

    def __init__(
        self, database: Database, worker_id: str, told: Callable[[Sequence[UUID]], None] = lambda _: None
    ) -> None:
        self._database, self.worker_id, self._told = database, worker_id, told

    def claim(
        self,
        job_ids: Sequence[UUID],
        along: Mapping[str, int] | None = None,
        next_jobs: Mapping[UUID, int] | None = None,
        *,
        suspects: bool = True,
    ) -> list[Claim]:
        """Takes jobs that are queued and due.

        Args:
            job_ids: jobs that messages name.
            along: how many single jobs of a provider may come along at most, the oldest first.
            next_jobs: how many jobs of batches are wanted besides, in the order of their input.
            suspects: take also those of the named jobs that a process died with.
        """
        wanted, along = next_jobs or {}, along or {}
        given = {
            "ids": list(job_ids),
            "providers": list(along),
            "along": list(along.values()),
            "batch_ids": list(wanted),
            "batch_jobs": list(wanted.values()),
            "worker_id": self.worker_id,
            "suspects": suspects,
        }
        rows = self._database.query(statement("claim"), given)
        return [Claim(job_id=row.pop("id"), **row) for row in rows]

    def suspects(self, job_ids: Sequence[UUID]) -> dict[UUID, int]:
        """Those of the jobs that could be claimed and that processes have died with, and how many."""
        rows = self._database.query(statement("suspects"), {"ids": list(job_ids)})
        return {row["id"]: row["losses"] for row in rows}

    def begin_calls(self, starts: Sequence[CallStart]) -> list[Verdict]:
        """Records intents; a call may be made if it is ``begun``, and must not be otherwise."""
        rows = self._database.query(statement("begin_calls"), self._intents(starts))
        verdicts: dict[tuple[UUID, int], Verdict] = {(row["job_id"], row["attempt"]): "begun" for row in rows}
        if len(verdicts) < len(starts):
            verdicts |= self._begin_capped([s for s in starts if (s.job_id, s.attempt) not in verdicts])
        return [verdicts.get((start.job_id, start.attempt), "lost") for start in starts]

    def _begin_capped(self, starts: Sequence[CallStart]) -> dict[tuple[UUID, int], Verdict]:
        """Those of capped batches. Two statements: the second has to see what others spent while the first waited."""
        given = self._intents(starts)
        with self._database.transaction() as connection:
            if not connection.execute(statement("hold_capped_batches").encode(), given).fetchall():
                return {}
            rows = connection.execute(statement("begin_capped_calls").encode(), given).fetchall()
        return {(row["job_id"], row["attempt"]): row["verdict"] for row in rows}

    def _intents(self, starts: Sequence[CallStart]) -> dict[str, Any]:
        return {
            "worker_id": self.worker_id,
            "job_ids": [s.job_id for s in starts],
            "fences": [s.fence for s in starts],
            "attempts": [s.attempt for s in starts],
            "costs_usd": [s.cost_usd for s in starts],
            **_origins([s.origin for s in starts]),
        }

    def room(self, batch_id: UUID) -> Room | None:
        """What a batch with a cap may still spend; None if it is paused or has no cap."""
        rows = self._database.query(statement("room_of_batch"), {"batch_id": batch_id})
        return Room(float(rows[0]["room_usd"]), float(rows[0]["most_room_usd"])) if rows else None

    def record(self, entries: Sequence[Entry]) -> list[bool]:
        """Writes ends of calls, settlements and releases, all or none; False where the fence had moved on."""
        calls = [e for e in entries if isinstance(e, CallEnd)]
        settlements = [e for e in entries if isinstance(e, Settlement)]
        releases = [e for e in entries if isinstance(e, Release)]
        with self._database.transaction() if releases else self._database.autocommit() as connection:
            ended = settle(connection, settlements, calls)
            kept = ended.keys() | release(connection, releases)
        self._told([job_id for job_id, single in ended.items() if single])
        return [isinstance(entry, CallEnd) or entry.job_id in kept for entry in entries]

    def earlier_results(self, wanted: Sequence[Wanted]) -> list[Earlier | None]:
        """For each the newest result of the same content; None where there is none or it is too old."""
        rows = self._database.query(
            statement("earlier_results"),
            {"content_keys": [w.content_key for w in wanted], "max_ages_s": [w.max_age_s for w in wanted]},
        )
        found = {row["place"]: _earlier(row) for row in rows}
        return [found.get(place) for place in range(1, len(wanted) + 1)]

    def renew_lease(self, lease_s: float) -> None:
        """Says that this process lives, for all its jobs at once."""
        self._database.query(statement("renew_lease"), {"worker_id": self.worker_id, "lease_s": lease_s})

    def end_lease(self) -> None:
        """Says that this process stops and holds nothing any more."""
        self._database.query(statement("end_lease"), {"worker_id": self.worker_id})

    def asked_back(self) -> list[tuple[UUID, int, bool]]:
        """Jobs of this process that somebody wants back: id, fence, and whether to end it (or its batch is paused)."""
        rows = self._database.query(statement("asked_back"), {"worker_id": self.worker_id})
        return [(row["id"], row["fence"], row["cancel_asked"]) for row in rows]

    def unsend(self, job_ids: Sequence[UUID]) -> None:
        """Gives queued jobs of batches back to their batches: who asks for the next jobs of one takes them."""
        self._database.query(statement("unsend"), {"ids": list(job_ids)})

    def in_hand(self) -> dict[UUID, int]:
        """The jobs that the ledger thinks this process has, with their fences."""
        rows = self._database.query(statement("jobs_in_hand"), {"worker_id": self.worker_id})
        return {row["id"]: row["fence"] for row in rows}

    def mend_lost(
        self, max_losses: int, orphans: Mapping[UUID, int] | None = None, *, patience_s: float = 0.0, group: int = 250
    ) -> tuple[list[Hint], int]:
        """Takes back jobs that nobody has in hand: put back, or failed after ``max_losses`` deaths of their workers.

        Those are the jobs of worker processes whose lease ran out. Of the jobs that a process died with, only those
        are blamed that most processes have died with before.

        Args:
            max_losses: deaths after which a job is not given to another worker.
            orphans: jobs with their fences that the ledger gave to this process and this process does not have.
            patience_s: nobody's lease is judged before Postgres has served renewals for so long without a gap.
            group: most jobs in one hint.

        Returns:
            hints for those that were put back, and how many failed.
        """
        given = {"orphan_ids": list(orphans or {}), "orphan_fences": list((orphans or {}).values())}
        with self._database.transaction() as connection:
            if not _sweeps(connection):
                return [], 0
            parameters = {"limit": SWEEP_LIMIT, "worker_id": self.worker_id, "patience_s": patience_s, **given}
            rows = connection.execute(statement("lost_jobs").encode(), parameters).fetchall()
            used = _lose_calls(connection, [row["id"] for row in rows])
            rows = [{**row, **used[row["id"]]} for row in rows]
            back = [row for row in rows if row["losses"] < max_losses]
            ended = [_lost(row) for row in rows if row["losses"] >= max_losses]
            release(connection, [_put_back(row) for row in back])
            settled = settle(connection, ended)
            connection.execute(statement("drop_dead_workers").encode())
        self._told([job_id for job_id, single in settled.items() if single])
        return group_hints(back, group), len(ended)

    def take_overdue(
        self, age_s: float, queues: Sequence[str], limit: int, group: int, full: Sequence[str] = ()
    ) -> list[Hint]:
        """Jobs whose hint should have been taken by now, grouped for new messages of at most ``group`` jobs.

        Args:
            age_s: of the hint, in seconds.
            queues: those that are empty.
            limit: most jobs.
            group: most jobs of a message.
            full: providers whose single jobs are left to others; but for suspects, which come only by name.
        """
        parameters = {"age_s": age_s, "queues": list(queues), "limit": limit, "full": list(full)}
        with self._database.transaction() as connection:
            if not _sweeps(connection, RESEND_LOCK):  # of two at once, the second would lock what the first has sent
                return []
            rows = connection.execute(statement("take_overdue").encode(), parameters).fetchall()
        return group_hints(rows, group)

    def starved_batches(self) -> list[UUID]:
        """Unfinished batches with work, of which nothing runs or is to be run again."""
        return [row["id"] for row in self._database.query(statement("starved_batches"))]


def settle(
    connection: Connection, settlements: Sequence[Settlement], calls: Sequence[CallEnd] = ()
) -> dict[UUID, bool]:
    """Ends jobs and calls by one statement; returns the jobs that were still ours, each with whether it is single."""
    if not settlements and not calls:
        return {}
    rows = connection.execute(
        statement("settle").encode(),
        {
            "job_ids": [s.job_id for s in settlements],
            "fences": [s.fence for s in settlements],
            "states": [s.state for s in settlements],
            "results": [s.result for s in settlements],
            "error_types": [s.error_type for s in settlements],
            "error_messages": [s.error_message for s in settlements],
            "attempts": [s.attempts for s in settlements],
            "input_tokens": [s.input_tokens for s in settlements],
            "output_tokens": [s.output_tokens for s in settlements],
            "content_keys": [s.content_key for s in settlements],
            "reused_from": [s.reused_from for s in settlements],
            "costs_usd": [s.cost_usd for s in settlements],
            "fallback_reasons": [s.fallback_reason for s in settlements],
            **_origins([s.origin for s in settlements]),
            "call_job_ids": [c.job_id for c in calls],
            "call_attempts": [c.attempt for c in calls],
            "call_outcomes": [c.outcome for c in calls],
            "call_statuses": [c.status for c in calls],
            "call_input_tokens": [c.input_tokens for c in calls],
            "call_output_tokens": [c.output_tokens for c in calls],
            "call_costs_usd": [c.cost_usd for c in calls],
        },
    ).fetchall()
    return {row["id"]: row["single"] for row in rows}


def release(connection: Connection, releases: Sequence[Release]) -> set[UUID]:
    """Puts jobs back inside a transaction and returns the ids that were still the caller's."""
    if not releases:
        return set()
    rows = connection.execute(
        statement("release").encode(),
        {
            "job_ids": [r.job_id for r in releases],
            "fences": [r.fence for r in releases],
            "attempts": [r.attempts for r in releases],
            "waits_s": [r.wait_s for r in releases],
            "input_tokens": [r.input_tokens for r in releases],
            "output_tokens": [r.output_tokens for r in releases],
            "costs_usd": [r.cost_usd for r in releases],
            "retries_from": [r.retries_from for r in releases],
            "fallback_positions": [r.fallback_position for r in releases],
            "fallback_reasons": [r.fallback_reason for r in releases],
        },
    ).fetchall()
    return {row["id"] for row in rows}


def _origins(origins: Sequence[Origin | None]) -> dict[str, list[Any]]:
    return {
        "provider_ids": [o and o.provider_id for o in origins],
        "generations": [o and o.generation for o in origins],
        "key_versions": [o and o.key_version for o in origins],
        "models": [o and o.model for o in origins],
    }


def _earlier(row: dict[str, Any]) -> Earlier:
    origin = Origin(row["answered_by"], row["provider_generation"], row["key_version"], row["answered_model"])
    return Earlier(row["id"], row["result"], origin)


def _lose_calls(connection: Connection, job_ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
    """What was used for each of the jobs; calls in flight are marked as lost."""
    if not job_ids:
        return {}
    rows = connection.execute(statement("lose_calls").encode(), {"ids": list(job_ids)}).fetchall()
    return {row["id"]: row for row in rows}


def _put_back(row: dict[str, Any]) -> Release:
    used = row["input_tokens"], row["output_tokens"], row["cost_usd"]
    return Release(row["id"], row["fence"], row["attempts"], 0.0, *used)


def _sweeps(connection: Connection, key: int = SWEEPER_LOCK) -> bool:
    row = connection.execute(statement("sweeper_lock").encode(), {"key": key}).fetchone()
    return bool(row and row["held"])


def _lost(row: dict[str, Any]) -> Settlement:
    error = WorkerLostError(row["provider_id"], f"its worker process died {row['losses']} times with this job in hand")
    return Settlement(
        row["id"],
        row["fence"],
        "failed",
        row["attempts"],
        None,
        error.error_type,
        error.message,
        row["input_tokens"],
        row["output_tokens"],
        cost_usd=row["cost_usd"],
    )
