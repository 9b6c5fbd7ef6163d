"""What is shown of a batch under way: rates over a while, what is left, what it costs; nothing made up."""

from datetime import UTC, datetime
from typing import Any

import pytest

from jobs.views import Batch
from producer.commands.progress import Figures, Reading, Watch, figures


def batch(succeeded: int, **more: Any) -> Batch:
    given: dict[str, Any] = {
        "batch_id": "b", "name": None, "kind": "complete", "provider_id": "groq", "state": "running", "total": 100,
        "queued": 0, "running": 5, "succeeded": succeeded, "failed": 0, "cancelled": 0,
        "input_tokens": succeeded * 1000, "output_tokens": succeeded * 100, "created_at": datetime.now(UTC),
        "finished_at": None, "cost_usd": succeeded * 0.002,
    }  # fmt: skip
    return Batch(**given | more)


def test_rates_and_where_they_lead() -> None:
    found = figures(Reading(0.0, batch(10)), Reading(10.0, batch(30)))
    assert (found.jobs_per_s, found.tokens_per_s, found.left_s) == (2.0, 2200.0, 35.0)
    assert found.cost_usd == pytest.approx(0.06)
    assert found.projected_usd == pytest.approx(0.2)


def test_what_cannot_be_said_is_not_said() -> None:
    at_rest = figures(Reading(0.0, batch(0)), Reading(10.0, batch(0)))
    assert at_rest == Figures(0.0, 0.0, None, 0.0, None)
    assert figures(Reading(0.0, batch(1)), Reading(1.0, batch(2, cost_usd=None))).cost_usd is None


def test_the_line() -> None:
    states = iter([batch(0), batch(50, failed=2, state="paused")])
    watch = Watch(lambda: next(states))
    watch.read()
    watch.read()
    words = watch.words()
    assert words.startswith("52/100 done, 2 failed, ")
    assert "5 in hand, 0.10 USD of about 0.19, " in words
    assert words.endswith(" left, paused")
    finished = Watch(lambda: batch(100, finished_at=datetime.now(UTC), state="succeeded", running=0))
    finished.read()
    assert "left" not in finished.words()
