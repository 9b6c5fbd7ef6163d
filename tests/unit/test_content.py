"""The digest of what is asked: every field of a request counts, nothing else does."""

from dataclasses import fields, replace
from typing import Any

import pytest

from jobs.chat import ChatRequest, Image, Message
from jobs.content import content_key, digest_of
from jobs.kinds import KINDS

PICTURE = Image("image/png", "AAAA")
REQUEST = ChatRequest((Message("system", "Be short."), Message("user", "Hello", (PICTURE,))), 10, 0.5, {"a": 1}, "s")
OTHER: dict[str, Any] = {
    "messages": (Message("system", "Be long."), *REQUEST.messages[1:]),
    "max_output_tokens": None,
    "temperature": 0.0,
    "json_schema": {"a": 2},
    "schema_name": "t",
}
MESSAGES: list[dict[str, Any]] = [
    {"role": "assistant"},
    {"text": "Hello "},
    {"images": ()},
    {"images": (PICTURE, PICTURE)},
    {"images": (replace(PICTURE, media_type="image/jpeg"),)},
    {"images": (replace(PICTURE, base64="AAAB"),)},
]
TICKET = {"id": 7, "subject": "Login", "body": "Cannot log in"}


def test_the_table_names_every_field() -> None:
    assert set(OTHER) == {field.name for field in fields(ChatRequest)}
    assert {name for change in MESSAGES for name in change} == {field.name for field in fields(Message)}
    assert {"media_type", "base64"} == {field.name for field in fields(Image)}


@pytest.mark.parametrize("name", OTHER)
def test_every_field_of_a_request_counts(name: str) -> None:
    assert digest_of("k", replace(REQUEST, **{name: OTHER[name]})) != digest_of("k", REQUEST)


@pytest.mark.parametrize("change", MESSAGES)
def test_every_field_of_a_message_counts(change: dict[str, Any]) -> None:
    changed = replace(REQUEST, messages=(REQUEST.messages[0], replace(REQUEST.messages[1], **change)))
    assert digest_of("k", changed) != digest_of("k", REQUEST)


def test_kind_and_model_count() -> None:
    digest = digest_of("k", REQUEST)
    assert digest_of("other", REQUEST) != digest
    assert content_key(digest, "m") != content_key(digest, "n")
    assert content_key(digest, "m") == content_key(digest_of("k", replace(REQUEST)), "m")


def test_where_a_text_ends_counts() -> None:
    one = ChatRequest((Message("user", "ab"), Message("user", "c")))
    assert digest_of("k", one) != digest_of("k", ChatRequest((Message("user", "a"), Message("user", "bc"))))


def test_of_a_ticket_counts_what_the_model_reads() -> None:
    kind = KINDS["summarise_ticket"]

    def digest(**more: object) -> bytes:
        return digest_of(kind.name, kind.request_of(kind.accept({**TICKET, **more}).input))

    assert digest(channel="mail") == digest()
    assert digest(comments=[{"body": "still"}]) != digest()


def test_half_a_surrogate_pair_is_no_fault() -> None:
    assert digest_of("k", ChatRequest((Message("user", "\ud800"),))) != digest_of("k", REQUEST)
