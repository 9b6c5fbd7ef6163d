"""The provider of the bench: what it says of itself is what the figures rest on."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest

from bench.running import RunFailedError
from bench.server import LLMServer

pytest.importorskip("uvloop", reason="it is installed by `make bench`")

DELAY_S = 0.05


def test_it_answers_the_sdk_and_counts(tmp_path: Path) -> None:
    with (
        LLMServer(tmp_path, DELAY_S) as server,
        openai.OpenAI(api_key="sk-bench", base_url=server.url, max_retries=0) as client,
    ):

        def ask(number: int) -> str | None:
            answer = client.chat.completions.create(
                model="bench-1", messages=[{"role": "user", "content": f"{number} " + "x" * 100_000}]
            )
            assert answer.usage
            assert answer.usage.total_tokens == 268
            return answer.choices[0].message.content

        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(ask, range(24)))
        counts = server.wait_answered(24, 5, lambda: True)
        assert all(answers)
        assert (counts.requests, counts.answered) == (24, 24)
        assert 1 <= counts.most_in_flight <= 8
        assert counts.last_answer_at - counts.last_request_at >= DELAY_S - 0.01
        server.reset()
        assert server.counts().requests == 0


def test_a_wait_for_callers_that_ended_fails(tmp_path: Path) -> None:
    with LLMServer(tmp_path, DELAY_S) as server, pytest.raises(RunFailedError, match="0 of 1 calls"):
        server.wait_answered(1, 5, lambda: False)
