"""What most of these tests share."""

from collections.abc import Iterator

import pytest

from tests.support.llm_server import LLMServer


@pytest.fixture(scope="module")
def llm() -> Iterator[LLMServer]:
    """A server of models for a module's tests; who scripts it resets it first."""
    with LLMServer() as server:
        yield server
