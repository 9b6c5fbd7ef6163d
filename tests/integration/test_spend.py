"""``ticketflow report spend`` after a crash and a rerun: every call once, and what was paid twice by its cause."""

from pathlib import Path
from typing import get_args

import pytest

from config.errors import UsageError
from jobs.selection import Selection
from jobs.spend import By, spend
from producer.producer import Producer
from tests.conftest import Stack
from tests.integration.test_caps import ANSWER, PROVIDER, producer, quick, submitted, ticketflow
from tests.integration.test_command import Command
from tests.support.llm_server import LLMServer
from tests.support.waiting import wait_for
from tests.support.workers import WorkerProcess

__all__ = ["producer", "ticketflow"]  # fixtures


def test_what_a_crash_made_us_pay_twice_is_reported(
    stack: Stack, producer: Producer, llm: LLMServer, ticketflow: Command, tmp_path: Path
) -> None:
    environment = quick(stack, TICKETFLOW_LEASE_S="1.5")
    llm.scenario([{"type": "delay", "seconds": 8, "times": 10}])
    batch = submitted(producer, 30, None)
    with WorkerProcess(environment, tmp_path / "first.log") as first:
        wait_for(lambda: len(llm.requests()) >= 10, "calls in flight")
        first.kill()
    llm.reset()
    llm.scenario([ANSWER])
    with WorkerProcess(environment, tmp_path / "second.log"):
        batch.wait(60)
        assert producer.rerun(Selection(batch_id=batch.batch_id)) == 30
        done = batch.wait(60)
    calls = [call for job in batch.jobs() for call in producer.ledger.calls(job.job_id)]
    lost = [call for call in calls if call.outcome == "lost"]
    assert len(calls) == 60 + len(lost) > 60
    report = ticketflow("report", "spend", "--since", "1h", "--by", "kind", "--json").document
    (row,) = report["rows"]
    assert (row["key"], row["calls"], row["unpriced_calls"]) == ("complete", len(calls), 0)
    assert row["cost_usd"] == pytest.approx(done.cost_usd) == pytest.approx(sum(call.cost_usd or 0 for call in calls))
    twice = {each["key"]: each for each in report["paid_twice"]}
    assert {key: each["calls"] for key, each in twice.items()} == {"worker lost": len(lost), "run again by request": 30}
    assert twice["worker lost"]["cost_usd"] == pytest.approx(sum(call.cost_usd or 0 for call in lost))
    keys = {by: [each.key for each in spend(producer.database, "1h", by).rows] for by in get_args(By)}
    (day,) = keys.pop("day")
    assert keys == {"provider": [PROVIDER], "model": ["gpt-4o"], "kind": ["complete"], "batch": [batch.batch_id]}
    assert spend(producer.database, "2999-01-01", "day").total.calls == 0
    shown = ticketflow("report", "spend", "--by", "day", "--since", "2020-01-01").out
    assert [words in shown for words in (str(day), "worker lost", f"{done.cost_usd:,.4f}")] == [True] * 3
    assert [ticketflow("report", "spend", *bad).status for bad in (("--since", "soon"), ("--by", "moon"))] == [2, 2]
    with pytest.raises(UsageError, match="spend is reported by provider, model"):
        spend(producer.database, "1h", "moon")  # type: ignore[arg-type]
