"""Schemas are filled such that the result validates; pydantic writes the schemas and judges the results."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from embedded.chat_protocol import count_tokens, cut_to_tokens
from embedded.schema_filling import fill_schema
from embedded.summariser import Summary
from jobs.kinds.summarise_ticket import TicketSummary

SUMMARY = Summary("Title", "First. Second.", "negative", "urgent", ("Call back.", "Pay."))


class Inner(BaseModel):
    summary: str
    score: Annotated[int, Field(ge=1, le=5)]


class Everything(BaseModel):
    sentiment: Literal["angry", "fine"]
    priority: Literal["P1", "P2", "P3"] | None
    title: Annotated[str, Field(max_length=3)] | None
    inner: Inner
    inners: Annotated[list[Inner], Field(min_length=2)]
    ratio: Annotated[float, Field(gt=0, lt=1)]
    below: Annotated[int, Field(lt=-3)]
    flag: bool
    note: str | None
    constant: Literal["x"]
    action_items: Annotated[list[str], Field(max_length=1)]
    labels: list[str]
    numbers: list[int]
    anything: dict[str, int]


class Node(BaseModel):
    summary: str
    child: "Node | None"


def test_the_kind_of_this_project() -> None:
    filled = fill_schema(TicketSummary.model_json_schema(), SUMMARY)
    assert TicketSummary.model_validate(filled).model_dump() == {
        "title": "Title",
        "summary": "First. Second.",
        "sentiment": "negative",
        "priority": "urgent",
        "action_items": ["Call back.", "Pay."],
    }


def test_every_construct() -> None:
    made = Everything.model_validate(fill_schema(Everything.model_json_schema(), SUMMARY), strict=True)
    assert (made.sentiment, made.priority, made.title, made.note) == ("angry", "P1", "Tit", None)
    assert (made.inner.summary, made.inner.score, len(made.inners)) == ("First. Second.", 1, 2)
    assert (made.flag, made.constant, made.action_items, made.labels) == (False, "x", ["Call back."], [])
    assert made.below == -4


def test_recursive_schema() -> None:
    assert fill_schema(Node.model_json_schema(), SUMMARY) == {"summary": "First. Second.", "child": None}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "First. Second."),
        ({"type": ["null", "integer"]}, None),
        ({"type": "integer"}, 0),
        ({"enum": [3, 4]}, 3),
        ({"properties": {"a": {}}}, {"a": "First. Second."}),
        ({"type": "object"}, {}),
        ({"allOf": [{"type": "object"}, {"properties": {"title": {"type": "string"}}}]}, {"title": "Title"}),
        ({"properties": {"priority": {"enum": ["HIGH", "Urgent"]}}}, {"priority": "Urgent"}),
        ({"properties": {"priority": {"type": "integer", "minimum": 1}}}, {"priority": 1}),
        ({"properties": {"sentiment": {"enum": ["unknown word", "x"]}}}, {"sentiment": "unknown word"}),
        ({"$ref": "#"}, None),
    ],
)
def test_single_values(schema: dict[str, Any], value: object) -> None:
    if schema == {"$ref": "#"}:  # refers to itself and so allows anything: no endless loop is what counts
        fill_schema(schema, SUMMARY)
    else:
        assert fill_schema(schema, SUMMARY) == value


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("Hello, world!", 4), ("it's 3.5", 6), ("至急です", 4), ("شكرا لكم", 2), ("a_b c", 2)]
)
def test_tokens(text: str, tokens: int) -> None:
    assert count_tokens(text) == tokens


@pytest.mark.parametrize(
    ("limit", "cut"),
    [(None, ("One two. Three.", 5)), (5, ("One two. Three.", 5)), (2, ("One two", 2)), (1, ("One", 1))],
)
def test_cutting(limit: int | None, cut: tuple[str, int]) -> None:
    assert cut_to_tokens("One two. Three.", limit) == cut
