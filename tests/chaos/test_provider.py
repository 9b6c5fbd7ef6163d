"""A provider that refuses, throttles, hangs, drips, breaks off, answers nonsense, forgets its key or is away."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.arena import BOUND_S, JOBS, KEY, Arena, small
from tests.chaos.crew import Crew
from tests.chaos.table import Table
from tests.chaos.test_services import stand_still
from tests.support.llm_server import LLMServer
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(400)
CLASSES = {
    "ok": {"succeeded"},
    "500": {"ProviderServerError"},
    "503": {"ProviderServerError"},
    "429": {"ProviderRateLimitedError"},
    "429-after": {"ProviderRateLimitedError"},
    "hang": {"ProviderTimeoutError"},
    "drip": {"ProviderTimeoutError"},
    "cut": {"ProviderConnectionError"},
    "truncated": {"ProviderReplyError"},
    "malformed": {"ProviderReplyError"},
    "misfit": {"succeeded", "InvalidOutputError"},
}
"""What a call is entered as. An answer that misses its schema came whole: it is repaired, or the job ends with it. So
one job may have paid for up to ten of them: five attempts, and a repair for each."""

UNHEARD = {"ProviderConnectionError", "ProviderTimeoutError"}
RETRYABLE = {"ProviderServerError", "ProviderRateLimitedError", "ProviderTimeoutError", "ProviderConnectionError"}
MIX = {"500": 0.1, "503": 0.1, "429": 0.005, "429-after": 0.005, "hang": 0.01, "drip": 0.01, "cut": 0.02}
"""Few 429, since each holds all calls back for a second: with 4 % of 50 calls at once that is nearly always."""

NONSENSE = {"truncated": 0.02, "malformed": 0.02, "misfit": 0.1}


def met(arena: Arena) -> Counter[tuple[str, str]]:
    """Pairs of what a request met and what the ledger calls it, over jobs whose requests and calls are as many.

    A call may never arrive: written to a connection while the provider closed it, or out of time on a busy machine.
    """
    faults: dict[str, list[str]] = {}
    for identity, fault in arena.faults():
        faults.setdefault(identity, []).append(fault)
    outcomes: dict[str, list[str]] = {}
    sql = "SELECT custom_id, outcome FROM calls JOIN jobs ON jobs.id = calls.job_id ORDER BY custom_id, attempt"
    for row in (row for row in arena.query(sql) if row["outcome"] != "superseded"):  # prepared anew, never sent
        outcomes.setdefault(row["custom_id"], []).append(row["outcome"])
    unheard = {name for name in outcomes if len(outcomes[name]) > len(faults.get(name, []))}
    strange = {name: outcomes[name] for name in unheard if not UNHEARD.intersection(outcomes[name])}
    assert not strange, strange
    assert len(unheard) < len(outcomes) / 2
    return Counter(
        pair for name in outcomes.keys() - unheard for pair in zip(faults[name], outcomes[name], strict=True)
    )


def test_every_trouble_at_once(arena: Arena, table: Table, tmp_path: Path) -> None:
    arena.plan(delay_s=0.1, faults=MIX | NONSENSE)
    arena.change_provider(timeout_s=3)
    with Crew(small(arena), tmp_path, 2) as crew:
        with arena.single_jobs():
            arena.submit(JOBS)
            arena.submit(300, "ticket", "summarise_ticket")
            arena.progress(JOBS, 180)
        report = arena.settled(calls_a_job=10)
    table.add("6 every trouble at once", report, None)
    pairs = met(arena)
    assert {fault for fault, _ in pairs} == set(CLASSES), "each was met"
    assert {pair: n for pair, n in pairs.items() if pair[1] not in CLASSES[pair[0]]} == {}
    errors = {row["error_type"] for row in arena.query("SELECT DISTINCT error_type FROM jobs WHERE state = 'failed'")}
    assert errors <= RETRYABLE | {"ProviderReplyError", "InvalidOutputError"}
    exhausted = "SELECT count(*) AS n FROM jobs WHERE state = 'failed' AND attempts < 5 AND error_type = ANY (%s)"
    assert arena.query(exhausted, list(RETRYABLE))[0]["n"] == 0, "none was given up early"
    assert crew.statuses == [], crew.log


def test_a_key_that_was_rotated_without_a_word(arena: Arena, table: Table, tmp_path: Path) -> None:
    arena.plan(key=KEY)
    with Crew(small(arena), tmp_path, 2) as crew:
        with arena.single_jobs():
            arena.submit(JOBS)
            arena.progress(100)
            arena.store_key("sk-chaos-2")
            arena.plan(key="sk-chaos-2")
            arena.progress(100)
        report = arena.settled()
    table.add("6 key rotated, 401", report, None)
    assert (report.failed, report.paid_twice) == (0, 0)
    assert met(arena)[("401", "ProviderAuthError")] > 0
    assert crew.statuses == [], crew.log


def test_it_is_away_and_comes_back(arena: Arena, table: Table, tmp_path: Path, full: bool) -> None:
    arena.plan()
    with Crew(small(arena), tmp_path, 2) as crew:
        with arena.single_jobs():
            arena.submit(JOBS)
            arena.progress(100)
            arena.stop_provider()
            stand_still(60 if full else 8)
            arena.start_provider()
            back_s = arena.goes_on_after()
        report = arena.settled()
    table.add("6 provider away", report, back_s)
    errors = {row["error_type"] for row in arena.query("SELECT DISTINCT error_type FROM jobs WHERE state = 'failed'")}
    assert errors <= {"ProviderConnectionError"}
    assert back_s <= BOUND_S
    assert crew.statuses == [], crew.log


def test_llmock_finds_nothing_wrong_with_our_client(arena: Arena, tmp_path: Path, full: bool) -> None:
    """Five of 25 requests fail all the way through, and a second provider refuses the same jobs again and again."""
    count = JOBS if full else 400
    with LLMServer() as llm:
        models = {"custom-llmock": "gpt-4o", "custom-patience": "gpt-4o-mini"}
        for name, model in models.items():
            arena.add_provider(name, base_url=llm.openai_url, default_model=model, timeout_s=20, max_attempts=9)
            arena.store_key(KEY, name)
        llm.scenario([{"type": "delay", "seconds": 0.1, "times": None}, AGAIN_AND_AGAIN])
        with Crew(small(arena), tmp_path, 2) as crew:
            arena.submit(4, "patience", provider="custom-patience")
            arena.submit(count, provider="custom-llmock")
            for wave in range(count // 20):
                wait_for(lambda n=wave * 15: arena.ended() >= n, f"wave {wave}: {crew.log}", 60)  # type: ignore[misc]
                llm.scenario(FAULTY)
            wait_for(lambda: arena.ended() == count + 4, f"end: {crew.log}", 200)
        verdict, requests = llm.verdict(), llm.requests()
    assert arena.query("SELECT DISTINCT state FROM jobs") == [{"state": "succeeded"}]
    assert verdict["faults_injected"] == len(requests) - count - 4 == count // 20 * 5 + 12
    assert max(Counter(request["fingerprint"] for request in requests).values()) >= 4, "some waited three times"
    assert verdict["findings"] == []


FAULTY: list[dict[str, Any]] = [
    {"type": "fail", "status": status, "match": {"model": "gpt-4o"}, **more}
    for status, more in [(500, {}), (503, {}), (429, {}), (429, {"retry_after": 1, "times": 2})]
]
AGAIN_AND_AGAIN = {"type": "fail", "status": 503, "times": 12, "match": {"model": "gpt-4o-mini"}}
"""Three for each of four jobs, or more for one of them; too few for a circuit."""


def test_a_quota_of_sixty_requests_a_minute(arena: Arena, tmp_path: Path) -> None:
    """Nobody told us of it: what is refused waits as long as it is told, and llmock finds nothing wrong with that."""
    with LLMServer() as llm:
        arena.add_provider("custom-quota", base_url=llm.openai_url, default_model="gpt-4o")
        arena.store_key(KEY, "custom-quota")
        llm.quota(requests_per_minute=60, left=0.2)
        with Crew(small(arena), tmp_path, 2) as crew:
            arena.submit(20, provider="custom-quota")
            wait_for(lambda: arena.ended() == 20, f"end: {crew.log}", 90)
        verdict = llm.verdict()
    assert arena.query("SELECT DISTINCT state FROM jobs") == [{"state": "succeeded"}]
    assert verdict["findings"] == []
