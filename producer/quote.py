"""What a batch would cost and how long it would take, by provider; nothing is sent."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from config.database import Database
from config.providers import Provider
from jobs.cost import cost_usd
from jobs.estimate import UNKNOWN_OUTPUT_TOKENS, input_tokens
from jobs.kind import Kind, NewJob
from jobs.statements import statement

MINUTE_S = 60.0


@dataclass(frozen=True)
class Size:
    """What is asked for: jobs, guessed input tokens, and the upper bound of the answers where every job has one."""

    jobs: int
    input_tokens: int
    bounded_output_tokens: int | None


@dataclass(frozen=True)
class Experience:
    """What jobs of the kind have used lately: output tokens each, and seconds a call."""

    output_tokens: float
    call_s: float | None


@dataclass(frozen=True)
class Quote:
    """An offer of one provider.

    Args:
        cost_usd: None where no price of the model is known.
        time_s: at the provider's limits; None where it has none that binds.
        binds: the limit that decides the time.
        basis: where the guess at output tokens comes from.
    """

    provider_id: str
    model: str
    jobs: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    time_s: float | None
    binds: str | None
    basis: str


def size_of(kind: Kind, jobs: Iterable[NewJob]) -> Size:
    """Counts jobs and guesses their tokens, reading them as a stream."""
    count = tokens = bounded = unbounded = 0
    for job in jobs:
        request = kind.request_of(job.input)
        count += 1
        tokens += input_tokens(request)
        bounded += request.max_output_tokens or 0
        unbounded += request.max_output_tokens is None
    return Size(count, tokens, None if unbounded else bounded)


def experience(database: Database, kind: Kind) -> dict[str | None, Experience]:
    """What the last thousand jobs of a kind used, by provider; under None, all of them."""
    rows = database.query(statement("usage_of_kind"), {"kind": kind.name})
    return {row["provider_id"]: Experience(row["output_tokens"], row["call_s"]) for row in rows if row["jobs"]}


def quote(size: Size, provider: Provider, model: str | None, known: Mapping[str | None, Experience]) -> Quote:
    """An offer: a pure function of what is asked, of the provider, and of what such jobs have used so far."""
    past = known.get(provider.id) or known.get(None)
    each = past.output_tokens if past else float(UNKNOWN_OUTPUT_TOKENS)
    output_tokens = round(each * size.jobs)
    if size.bounded_output_tokens is not None:
        output_tokens = min(output_tokens, size.bounded_output_tokens)
    name = model or provider.default_model
    prices = provider.model_named(model)
    time_s, binds = slowest(size.jobs, size.input_tokens + output_tokens, provider, past.call_s if past else None)
    basis = "jobs of this kind so far" if past else f"{UNKNOWN_OUTPUT_TOKENS} tokens an answer: no such job has run yet"
    return Quote(
        provider.id,
        name,
        size.jobs,
        size.input_tokens,
        output_tokens,
        cost_usd(prices, size.input_tokens, output_tokens),
        time_s,
        binds,
        basis,
    )


def slowest(jobs: int, tokens: int, provider: Provider, call_s: float | None) -> tuple[float | None, str | None]:
    """The time that a provider's limits allow, and the limit that decides it; ``call_s`` None is not known."""
    limits = provider.limits
    times_s = {
        "requests_per_minute": limits.requests_per_minute and jobs / limits.requests_per_minute * MINUTE_S,
        "tokens_per_minute": limits.tokens_per_minute and tokens / limits.tokens_per_minute * MINUTE_S,
        "calls_in_flight": limits.calls_in_flight and call_s and jobs * call_s / limits.calls_in_flight,
    }
    known = {name: float(time_s) for name, time_s in times_s.items() if time_s}
    if not known:
        return None, None
    binds = max(known, key=lambda name: known[name])
    return known[binds], binds
