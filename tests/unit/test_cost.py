"""What calls cost: decided for every outcome, and bounded before they are made."""

import pytest

from config import errors
from config.errors import CallError, InvalidProviderError
from config.providers import Model, parse_provider
from jobs.chat import ChatRequest, Image, Message, Usage
from jobs.cost import cost_of, cost_usd, most_usd
from jobs.estimate import input_tokens, most_tokens

PRICED = Model(id="m", input_usd_per_million=1.0, output_usd_per_million=10.0)
UNPRICED = Model(id="m")
MOST = 0.5
COUNTED = Usage(1000, 100)
FREE = (
    errors.EgressDeniedError,
    errors.ProviderUnreachableError,
    errors.ProviderAuthError,
    errors.ProviderRejectedError,
    errors.ProviderRateLimitedError,
    errors.ProviderServerError,
)
PERHAPS_CHARGED = (
    errors.ProviderTimeoutError,
    errors.ProviderConnectionError,
    errors.ProviderReplyError,
    errors.OutputRefusedError,
    errors.OutputTruncatedError,
    errors.InvalidOutputError,
    errors.InternalError,
)
NEVER_OF_A_CALL = (
    errors.ProviderUnavailableError,
    errors.KeyMissingError,
    errors.KeyUnavailableError,
    errors.InputUnreadableError,
    errors.ProviderDisabledError,
    errors.ProviderUnavailableError,
    errors.WorkerLostError,
)


@pytest.mark.parametrize("outcome", ["succeeded", "cancelled", *(cls.__name__ for cls in PERHAPS_CHARGED)])
def test_what_nobody_counted_may_have_cost_the_most(outcome: str) -> None:
    assert cost_of(outcome, Usage(), PRICED, MOST) == MOST
    assert cost_of(outcome, Usage(), UNPRICED, None) is None


@pytest.mark.parametrize("outcome", ["superseded", *(cls.__name__ for cls in FREE)])
def test_what_was_refused_or_not_sent_costs_nothing(outcome: str) -> None:
    assert cost_of(outcome, Usage(), PRICED, MOST) == 0
    assert cost_of(outcome, Usage(), None, None) == 0, "whatever the price is"


@pytest.mark.parametrize("outcome", ["succeeded", "OutputTruncatedError", "InvalidOutputError", "ProviderServerError"])
def test_what_was_counted_is_priced(outcome: str) -> None:
    assert cost_of(outcome, COUNTED, PRICED, MOST) == 0.002
    assert cost_of(outcome, COUNTED, UNPRICED, None) is None
    assert cost_of(outcome, Usage(0, 100), PRICED, MOST) == 0.001, "one of the two is enough"


def test_every_error_of_a_call_is_decided_here() -> None:
    classes = {each for cls in CallError.__subclasses__() for each in (cls, *cls.__subclasses__())}
    assert classes == {*FREE, *PERHAPS_CHARGED, *NEVER_OF_A_CALL}


def test_half_a_price_is_none() -> None:
    assert cost_usd(Model(id="m", input_usd_per_million=1.0), 1, 0) is None
    assert cost_usd(Model(id="m", input_usd_per_million=0.0, output_usd_per_million=0.0), 10**6, 10**6) == 0
    assert cost_usd(PRICED, 1, 1) == 0.000011


@pytest.mark.parametrize("price", [-1.0, float("inf"), float("nan"), 1e7])
def test_a_price_is_a_sane_number(price: float) -> None:
    models = [{"id": "m", "input_usd_per_million": price}]
    given = {"id": "a", "name": "A", "type": "groq", "base_url": "https://a.example", "default_model": "m"}
    with pytest.raises(InvalidProviderError, match="input_usd_per_million"):
        parse_provider({**given, "models": models})


@pytest.mark.parametrize(
    "text", ["", "plain English", "Grüße aus Köln", "漢字かな交じり文", "👩‍👩‍👧‍👦" * 9, "\ud800", "7f3a" * 500]
)
def test_the_most_is_never_less_than_a_token_a_byte(text: str) -> None:
    request = ChatRequest((Message("system", "s"), Message("user", text)), 100, json_schema={"type": "object"})
    most = most_tokens(request)
    assert most.input_tokens > len(text.encode(errors="replace")) >= len(text)
    assert most.input_tokens > input_tokens(request)
    assert most.output_tokens == 100
    assert most_usd(PRICED, request) == cost_usd(PRICED, most.input_tokens, 100)
    assert most_usd(UNPRICED, request) is None


def test_what_has_no_bound_is_guessed() -> None:
    request = ChatRequest((Message("user", "x", (Image("image/png", "aGk="),) * 2),))
    assert most_tokens(request).output_tokens == 4096
    assert most_tokens(request).input_tokens > 4000
