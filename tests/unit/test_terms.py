"""What may be said of a job's keys and revision."""

from typing import Any

import pytest

from config.errors import InvalidInputError
from jobs.terms import MAX_REVISION, Terms


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"idempotency_key": "x" * 200},
        {"supersede_key": "é", "revision": 0},
        {"idempotency_key": "a", "supersede_key": "b", "revision": MAX_REVISION},
    ],
)
def test_terms_that_can_be(given: dict[str, Any]) -> None:
    assert Terms(**given) == Terms(**given)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"idempotency_key": ""}, "idempotency_key: 1 to 200"),
        ({"idempotency_key": "SECRET" * 40}, "idempotency_key: 1 to 200"),
        ({"idempotency_key": "SECRET\0"}, "idempotency_key: 1 to 200"),
        ({"idempotency_key": "SECRET\ud800"}, "idempotency_key: 1 to 200"),
        ({"idempotency_key": 7}, "idempotency_key: 1 to 200"),
        ({"supersede_key": "", "revision": 1}, "supersede_key: 1 to 200"),
        ({"supersede_key": "t"}, "give both"),
        ({"revision": 1}, "give both"),
        ({"supersede_key": "t", "revision": -1}, "revision: a whole number"),
        ({"supersede_key": "t", "revision": 2**63}, "revision: a whole number"),
        ({"supersede_key": "t", "revision": 1.0}, "revision: a whole number"),
        ({"supersede_key": "t", "revision": True}, "revision: a whole number"),
        ({"supersede_key": "t", "revision": "1"}, "revision: a whole number"),
    ],
)
def test_terms_that_cannot(given: dict[str, Any], word: str) -> None:
    with pytest.raises(InvalidInputError, match=word) as caught:
        Terms(**given)
    assert "SECRET" not in str(caught.value)
