"""Decisions about limits, without clock or network: what a call will cost, how long a job would wait."""

from dataclasses import dataclass
from math import inf

from config.providers import Limits
from jobs.chat import Usage
from jobs.estimate import UNKNOWN_OUTPUT_TOKENS

MINUTE_S = 60.0
LEARNING_WEIGHT = 0.1
FIRST_LESSONS = 5
LONGEST_RELEASE_S = 60.0
AT_ONCE_S = 1.0
FEWEST_ASK, LARGEST_ASK = 4, 250


def is_limited(limits: Limits) -> bool:
    """Whether there is any limit."""
    return bool(limits.requests_per_minute or limits.tokens_per_minute or limits.calls_in_flight)


@dataclass
class Experience:
    """What calls of one kind to one provider have used so far, as decaying means.

    Args:
        input_ratio: tokens counted for each token guessed.
        output_tokens: of an answer.
        calls: so many.
    """

    input_ratio: float = 1.0
    output_tokens: float = 0.0
    calls: int = 0

    def estimate(self, guessed_input: int, max_output_tokens: int | None) -> int:
        """Tokens to reserve: the upper bound while little is known, then what such calls use.

        Were it always the upper bound, calls that end far below it would leave much of the limit unused while they run.
        """
        output: float = UNKNOWN_OUTPUT_TOKENS if max_output_tokens is None else max_output_tokens
        if self.calls >= FIRST_LESSONS:
            output = self.output_tokens if max_output_tokens is None else min(self.output_tokens, max_output_tokens)
        return max(1, round(guessed_input * self.input_ratio + output))

    def learn(self, guessed_input: int, usage: Usage) -> None:
        """Takes in one call; the first ones weigh more, so that a single odd one is soon outweighed."""
        weight = max(LEARNING_WEIGHT, 1 / (self.calls + 1))
        self.input_ratio += weight * (usage.input_tokens / max(guessed_input, 1) - self.input_ratio)
        self.output_tokens += weight * (usage.output_tokens - self.output_tokens)
        self.calls += 1


def bulk_turns(limits: Limits) -> int:
    """How many bulk jobs may ask at once: more than can be given a turn in one exchange, and not all that wait."""
    fit = [AT_ONCE_S * (limits.requests_per_minute or inf) / MINUTE_S, limits.calls_in_flight or inf, LARGEST_ASK]
    return FEWEST_ASK + int(min(fit))


def expected_wait_s(ahead: int, tokens: float, call_s: float, limits: Limits, processes: int) -> float:
    """How long a bulk job will wait, if the processes share alike.

    Args:
        ahead: jobs before it in this process.
        tokens: of a call.
        call_s: how long a call takes.
        limits: of the provider.
        processes: that work for it.
    """
    spacings_s = (
        MINUTE_S / limits.requests_per_minute if limits.requests_per_minute else 0.0,
        MINUTE_S * tokens / limits.tokens_per_minute if limits.tokens_per_minute else 0.0,
        call_s / limits.calls_in_flight if limits.calls_in_flight else 0.0,
    )
    return ahead * processes * max(spacings_s)


def release_wait_s(wait_s: float, jitter: float) -> float:
    """How long a job stays in the queue that would have to wait for ``wait_s``.

    Somewhat less, so that it is there when its turn comes, and at most a minute, since limits change. Spread, so that
    those who were sent away together do not come back together.

    Args:
        wait_s: until its turn.
        jitter: 0 to 1.
    """
    return max(1.0, min(wait_s, LONGEST_RELEASE_S) * (0.5 + 0.5 * jitter))
