"""Quotes: tokens are guessed, prices and limits are applied, and what is not known is not made up."""

from typing import Any

import pytest

from config.providers import Provider, parse_provider
from jobs.kinds import KINDS
from producer.quote import Experience, Size, quote, size_of

SIZE = Size(1000, 400_000, None)
PAST = {None: Experience(100.0, 2.0), "custom-a": Experience(50.0, 3.0)}


def provider(provider_id: str = "custom-a", **fields: Any) -> Provider:
    given = {"name": "A", "type": "openai-compatible", "base_url": "http://localhost:1", "default_model": "m"}
    return parse_provider({"id": provider_id, **given, **fields})


PRICED = [{"id": "m", "input_usd_per_million": 0.5, "output_usd_per_million": 2.0}]


@pytest.mark.parametrize(
    ("limits", "time_s", "binds"),
    [
        ({}, None, None),
        ({"requests_per_minute": 100}, 600.0, "requests_per_minute"),
        ({"tokens_per_minute": 450_000}, 60.0, "tokens_per_minute"),
        ({"calls_in_flight": 10}, 300.0, "calls_in_flight"),
        ({"requests_per_minute": 1000, "tokens_per_minute": 45_000}, 600.0, "tokens_per_minute"),
    ],
)
def test_the_limit_that_binds(limits: dict[str, int], time_s: float | None, binds: str | None) -> None:
    found = quote(SIZE, provider(limits=limits), None, PAST)
    assert (found.time_s, found.binds) == (time_s, binds)


def test_prices_and_what_is_not_known() -> None:
    known = quote(SIZE, provider(models=PRICED), None, PAST)
    assert known.output_tokens == 50_000
    assert known.cost_usd == pytest.approx(0.3)
    assert quote(SIZE, provider(models=PRICED), "other", PAST).cost_usd is None
    assert quote(SIZE, provider(), None, PAST).cost_usd is None
    elsewhere = quote(SIZE, provider("custom-b", models=PRICED), None, PAST)
    assert elsewhere.output_tokens == 100_000, "what others used is the next best guess"
    new = quote(SIZE, provider(limits={"calls_in_flight": 1}), None, {})
    assert (new.output_tokens, new.time_s, "no such job has run yet" in new.basis) == (512_000, None, True)
    bounded = quote(Size(1000, 400_000, 9000), provider(models=PRICED), None, PAST)
    assert bounded.output_tokens == 9000


def test_the_size_of_a_batch() -> None:
    kind = KINDS["complete"]
    jobs = [kind.accept({"prompt": "x" * 300, "max_tokens": 10}) for _ in range(3)]
    assert size_of(kind, jobs) == Size(3, 3 * 104, 30)
    assert size_of(kind, [*jobs, kind.accept({"prompt": "é"})]).bounded_output_tokens is None
    tickets = KINDS["summarise_ticket"]
    one = size_of(tickets, [tickets.accept({"id": 1, "subject": "Login", "body": "b" * 900})])
    assert 300 < one.input_tokens < 2000, "instructions and schema are counted too"
