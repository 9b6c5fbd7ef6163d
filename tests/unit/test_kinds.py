"""The kinds: what inputs they take, what they ask, and that no message of theirs quotes content."""

import json
from typing import Any

import pytest

from config.errors import InvalidInputError, UnknownNameError
from jobs.kinds import KINDS, kind_named
from jobs.kinds.summarise_ticket import Ticket, TicketSummary, render

TICKET = {
    "id": 7,
    "subject": "Login",
    "body": "Cannot log in",
    "comments": [{"author": "Ann", "at": "2026-01-02", "body": "Same here", "via": "app"}],
    "channel": "mail",
}


def test_unknown_fields_are_kept_and_defaults_are_not_invented() -> None:
    job = kind_named("summarise_ticket").accept(TICKET)
    assert json.loads(job.input) == TICKET
    assert job.custom_id == "7"
    assert "Login" not in repr(job)


@pytest.mark.parametrize(
    ("kind", "data", "field"),
    [
        ("summarise_ticket", {"id": "1", "subject": "SECRET"}, "body"),
        ("summarise_ticket", {"id": "1", "subject": "s", "body": ["SECRET"]}, "body"),
        (
            "summarise_ticket",
            {"id": "1", "subject": "s", "body": "b", "comments": [{"at": "SECRET"}]},
            "comments.0.body",
        ),
        ("summarise_ticket", {"id": None, "subject": "s", "body": "SECRET"}, "id"),
        ("summarise_ticket", {"id": "1", "subject": "s", "body": "SECRET \ud800"}, "input"),
        ("summarise_ticket", ["SECRET"], "input"),
        ("complete", {"prompt": "SECRET", "messages": [{"role": "user", "content": "x"}]}, "input"),
        ("complete", {}, "input"),
        ("complete", {"prompt": ""}, "prompt"),
        ("complete", {"messages": []}, "messages"),
        ("complete", {"messages": [{"role": "tool", "content": "SECRET"}]}, "messages.0.role"),
        ("complete", {"prompt": "SECRET", "max_tokens": 0}, "max_tokens"),
        ("complete", {"prompt": "SECRET", "temperature": 3}, "temperature"),
    ],
)
def test_bad_inputs_are_named_by_field_and_not_quoted(kind: str, data: object, field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        kind_named(kind).accept(data)
    assert field in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_an_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="complete, summarise_ticket"):
        kind_named("translate")


def test_a_ticket_is_rendered_in_order() -> None:
    text = render(Ticket.model_validate(TICKET))
    places = [text.index(part) for part in ("Ticket 7", "Subject: Login", "Cannot log in", "[2026-01-02, Ann]", "Same")]
    assert places == sorted(places)


def test_the_request_asks_for_the_output_and_hides_the_ticket() -> None:
    request = KINDS["summarise_ticket"].request_of(json.dumps(TICKET))
    assert request.json_schema == TicketSummary.model_json_schema()
    assert [message.role for message in request.messages] == ["system", "user"]
    assert "Cannot log in" not in repr(request)


def test_complete_passes_on_what_was_given() -> None:
    request = KINDS["complete"].request_of('{"prompt": "Hello", "max_tokens": 5, "temperature": 0.5}')
    assert (request.max_output_tokens, request.temperature, request.json_schema) == (5, 0.5, None)
    assert [m.text for m in request.messages] == ["Hello"]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ('{"prompt": "a\\u0000b"}', {"prompt": "a\0b"}),
        ('{"prompt": "x", "n": NaN}', {"prompt": "x", "n": None}),
        (
            '{"prompt": "x", "big": 123456789012345678901234567890}',
            {"prompt": "x", "big": 123456789012345678901234567890},
        ),
        ('{"prompt": "日本語 \\ud83d\\ude00"}', {"prompt": "日本語 😀"}),
    ],
)
def test_odd_values_are_stored_as_json_that_a_database_takes(given: str, stored: object) -> None:
    assert json.loads(KINDS["complete"].accept_json(given).input) == stored


@pytest.mark.parametrize("name", ["a" * 201, "a\0b"])
def test_names_of_jobs_are_bounded(name: str) -> None:
    with pytest.raises(InvalidInputError, match="custom_id"):
        KINDS["complete"].accept({"prompt": "x"}, name)


def test_an_object_that_json_cannot_carry_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="JSON cannot carry"):
        KINDS["complete"].accept({"prompt": object()})


PNG = "data:image/png;base64,iVBORw0KGgo="


def with_image(url: str, role: str = "user", count: int = 1) -> dict[str, Any]:
    image = {"type": "image_url", "image_url": {"url": url}}
    return {"messages": [{"role": role, "content": [{"type": "text", "text": "What is this?"}, *[image] * count]}]}


def test_images_come_as_parts_of_a_message() -> None:
    job = KINDS["complete"].accept(with_image(PNG, count=2))
    (message,) = KINDS["complete"].request_of(job.input).messages
    assert (message.text, len(message.images)) == ("What is this?", 2)
    assert (message.images[0].media_type, message.images[0].data_url) == ("image/png", PNG)
    assert message.images[0].content == b"\x89PNG\r\n\x1a\n"
    assert "iVBOR" not in repr(message)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (with_image("https://example.com/a.png"), "data: URL"),
        (with_image("data:image/svg+xml;base64,PHN2Zz4="), "data: URL"),
        (with_image("data:image/png;base64,a"), "not base64"),
        (with_image("data:image/png;base64,secret stuff"), "data: URL"),
        (with_image("data:image/png;base64," + "A" * 6 * 2**20), "larger than 4 MiB"),
        (with_image("data:image/png;base64," + "A" * 4 * 2**20, count=5), "more than 12 MiB"),
        (with_image(PNG, role="system"), "messages of the user"),
    ],
    ids=["remote", "svg", "padding", "blanks", "large", "many", "system"],
)
def test_images_that_are_refused(data: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words) as caught:
        KINDS["complete"].accept(data)
    assert "secret" not in str(caught.value)
    assert len(str(caught.value)) < 300
