"""What calls cost: the most that one can, said before it is made, and what it did cost once its end is known."""

from collections.abc import Collection

from config.errors import (
    EgressDeniedError,
    ProviderAuthError,
    ProviderRateLimitedError,
    ProviderRejectedError,
    ProviderServerError,
    ProviderUnreachableError,
)
from config.providers import Model
from jobs.chat import ChatRequest, Usage
from jobs.estimate import most_tokens

MILLION = 1_000_000
USD_DIGITS = 9
"""Costs are kept to a billionth of a dollar, so that sums in Postgres and here agree to the last digit."""

NOT_CHARGED: Collection[str] = frozenset(
    {
        "superseded",
        *(
            refusal.__name__
            for refusal in (
                EgressDeniedError,
                ProviderUnreachableError,
                ProviderAuthError,
                ProviderRejectedError,
                ProviderRateLimitedError,
                ProviderServerError,
            )
        ),
    }
)
"""Outcomes of calls that were not sent, or that the provider answered with a refusal: no provider charges for those."""


def cost_usd(model: Model | None, input_tokens: int, output_tokens: int) -> float | None:
    """The price of tokens; None where it is not known."""
    if model is None or model.input_usd_per_million is None or model.output_usd_per_million is None:
        return None
    millionths = input_tokens * model.input_usd_per_million + output_tokens * model.output_usd_per_million
    return round(millionths / MILLION, USD_DIGITS)


def most_usd(model: Model | None, request: ChatRequest) -> float | None:
    """The most that a call can cost; None where no price is known."""
    if cost_usd(model, 0, 0) is None:
        return None
    most = most_tokens(request)
    return cost_usd(model, most.input_tokens, most.output_tokens)


def cost_of(outcome: str, usage: Usage, model: Model | None, most: float | None) -> float | None:
    """What a call cost, by its end.

    What the provider counted is priced. A call that was refused or not sent costs nothing. Of all others, such as one
    that was cut off, nobody knows: they count with the most that they can have cost, so that no cap is passed unseen.

    Args:
        outcome: what came of it.
        usage: what the provider counted.
        model: whose prices are paid.
        most: the most that it can have cost, as said before, in USD; None where no price was known.
    """
    if usage:
        return cost_usd(model, usage.input_tokens, usage.output_tokens)
    return 0.0 if outcome in NOT_CHARGED else most
