"""Vault sealed, killed, frozen, tokens revoked, the secret id gone: known keys serve on, jobs for unknown ones wait."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from embedded.vault_rights import WORKER
from tests.chaos.arena import BOUND_S, JOBS, KEY, Arena, small
from tests.chaos.crew import Crew
from tests.chaos.table import Table
from tests.chaos.test_services import stand_still
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(800)
OUTAGE_S = 60.0
"""Of the long form. Keys are read again every second here, and known ones serve on all the while."""

ROLE = f"auth/approle/role/{WORKER}"


@contextmanager
def sealed(arena: Arena) -> Iterator[None]:
    """With a static seal a restart is what opens it again."""
    arena.vault().call("PUT", "sys/seal")
    yield
    arena.kill("OpenBao")
    arena.start("OpenBao")


@contextmanager
def killed(arena: Arena) -> Iterator[None]:
    arena.kill("OpenBao")
    yield
    arena.start("OpenBao")


@contextmanager
def frozen(arena: Arena) -> Iterator[None]:
    with arena.frozen("OpenBao"):
        yield


@contextmanager
def without_login(arena: Arena) -> Iterator[None]:
    """All tokens of workers are revoked and their secret id has expired; a new one is in the file at the end."""
    hand_out(arena, "1s")
    stand_still(2)
    revoke_tokens(arena)
    yield
    hand_out(arena)


def hand_out(arena: Arena, lifetime: str = "1h") -> None:
    """A secret id of this scenario's own."""
    answer = arena.vault().call("POST", f"{ROLE}/secret-id", {"ttl": lifetime})[1]
    (arena.folder / "secret-id").write_text(answer["data"]["secret_id"])


def revoke_tokens(arena: Arena) -> None:
    """Every token that a worker got by logging in."""
    arena.vault().call("PUT", "sys/leases/revoke-force/auth/approle/login")


OUTAGES = {"sealed": sealed, "killed": killed, "frozen": frozen, "no-login": without_login}


def test_vault_is_of_no_use(arena: Arena, table: Table, tmp_path: Path, full: bool) -> None:
    """One outage after another: known keys serve on, and jobs of a provider whose key nobody has read yet wait."""
    arena.plan(key=KEY)
    hand_out(arena)
    environment = small(
        arena, TICKETFLOW_KEY_TTL_S="1", TICKETFLOW_VAULT_SECRET_ID_FILE=str(arena.folder / "secret-id")
    )
    del environment["TICKETFLOW_VAULT_SECRET_ID"]
    recovery_s: dict[str, float] = {}
    with Crew(environment, tmp_path, 2) as crew:
        with arena.single_jobs():
            for name in arena.chance.sample(list(OUTAGES), len(OUTAGES)):
                unknown = f"custom-{name}"
                arena.add_provider(unknown)
                arena.store_key(KEY, unknown)
                arena.submit(JOBS // 2, name)
                arena.progress(50)
                with OUTAGES[name](arena):
                    arena.submit(20, f"waits-{name}", provider=unknown)
                    wait_for(lambda u=unknown: tried(arena, u), f"jobs that were tried and wait: {crew.log}", 60)  # type: ignore[misc]
                    if full:
                        stand_still(OUTAGE_S)
                        arena.submit(JOBS // 2, f"late-{name}")
                    arena.progress(200)
                    assert not arena.query("SELECT 1 FROM calls WHERE provider_id = %s", unknown), "none was called"
                recovery_s[name] = arena.seconds_until(lambda u=unknown: served(arena, u), "a job with the unknown key")  # type: ignore[misc]
        report = arena.settled()
    for name, seconds in recovery_s.items():
        table.add(f"4 vault {name}", report, seconds)
    assert (report.failed, report.paid_twice) == (0, 0)
    assert max(recovery_s.values()) <= BOUND_S, recovery_s
    assert crew.statuses == [], crew.log


def tried(arena: Arena, provider_id: str) -> bool:
    """Whether a job was taken up for a provider and put back."""
    sql = "SELECT 1 FROM jobs WHERE provider_id = %s AND state = 'queued' AND fence > 0"
    return bool(arena.query(sql, provider_id))


def served(arena: Arena, provider_id: str) -> bool:
    """Whether a provider has done a job."""
    return bool(arena.query("SELECT 1 FROM jobs WHERE provider_id = %s AND state = 'succeeded'", provider_id))


def test_a_revoked_token_costs_nothing(arena: Arena, table: Table, tmp_path: Path) -> None:
    arena.plan(key=KEY)
    with Crew(small(arena, TICKETFLOW_KEY_TTL_S="0.5"), tmp_path, 2) as crew:
        with arena.single_jobs():
            arena.submit(JOBS)
            for _ in range(5):
                arena.progress(100)
                revoke_tokens(arena)
        report = arena.settled()
    table.add("4 vault tokens revoked", report, None)
    assert (report.failed, report.paid_twice) == (0, 0)
    assert crew.statuses == [], crew.log
