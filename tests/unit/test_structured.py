"""Structured answers: schemas for strict modes, instructions, answers made into models."""

import json
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from config.errors import InvalidOutputError
from jobs.chat import ChatRequest, Message
from worker.structured import parse_output, repair_request, strict_schema, with_json_instructions


class Mood(Enum):
    CALM = "calm"
    ANGRY = "angry"


class Step(BaseModel):
    title: Annotated[str, Field(max_length=20)]
    then: "Step | None" = None


class Card(BaseModel):
    kind: Literal["card"] = "card"


class Cash(BaseModel):
    kind: Literal["cash"] = "cash"


class Answer(BaseModel):
    """What a model is asked for."""

    model_config = ConfigDict(extra="forbid")

    summary: Annotated[str, Field(min_length=1, max_length=40, description="one sentence")]
    mood: Mood = Mood.CALM
    priority: Literal["low", "high"] = "low"
    score: Annotated[float, Field(ge=0, le=1)] = 0.5
    steps: Annotated[list[Step], Field(max_length=3)] = []
    note: str | None = None
    paid: Annotated[Card | Cash, Field(discriminator="kind")] = Card()

    @field_validator("note")
    @classmethod
    def _clean(cls, note: str | None) -> str | None:
        if note == "secret text":
            raise ValueError(f"bad note {note}")
        return note


def parts_of(schema: Any) -> list[dict[str, Any]]:
    if isinstance(schema, list):
        return [part for item in schema for part in parts_of(item)]
    if not isinstance(schema, dict):
        return []
    named = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
    inner = [*named, *schema.get("anyOf", []), schema.get("items")]
    return [schema, *parts_of(inner)]


def test_strict_schema_requires_everything_and_keeps_known_keywords_only() -> None:
    schema = strict_schema(Answer.model_json_schema())
    parts = parts_of(schema)
    assert len(parts) > 10
    known = {"type", "description", "enum", "required", "additionalProperties", "properties", "$defs", "$ref", "anyOf"}
    for part in parts:
        assert part.keys() <= known | {"items"}
        if part.get("type") == "object":
            assert part["required"] == list(part["properties"])
            assert part["additionalProperties"] is False
        if "$ref" in part:
            assert part.keys() == {"$ref"}
    assert schema["required"] == ["summary", "mood", "priority", "score", "steps", "note", "paid"]


def test_strict_schema_tells_the_limits_that_it_drops() -> None:
    properties = strict_schema(Answer.model_json_schema())["properties"]
    assert properties["summary"]["description"] == "one sentence (minLength 1, maxLength 40)"
    assert properties["score"]["description"] == "(minimum 0, maximum 1)"


def test_strict_schema_keeps_fields_named_like_keywords() -> None:
    class Odd(BaseModel):
        title: str
        default: int
        properties: str
        required: bool

    assert list(strict_schema(Odd.model_json_schema())["properties"]) == ["title", "default", "properties", "required"]


def test_strict_schema_of_single_values_and_of_free_mappings() -> None:
    assert strict_schema({"const": "x", "type": "string"}) == {"type": "string", "enum": ["x"]}
    mapping = strict_schema({"type": "object", "additionalProperties": {"type": "string"}})
    assert mapping == {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


def test_strict_schema_leaves_its_argument_alone() -> None:
    schema = Answer.model_json_schema()
    before = json.dumps(schema)
    strict_schema(schema)
    assert json.dumps(schema) == before


def test_instructions_join_the_system_message() -> None:
    request = ChatRequest((Message("system", "Be kind."), Message("user", "hi")), json_schema={"type": "object"})
    told = with_json_instructions(request)
    assert [message.role for message in told.messages] == ["system", "user"]
    assert told.messages[0].text.startswith("Be kind.\n\n")
    assert '{"type":"object"}' in told.messages[0].text
    assert told.json_schema is None
    assert request.json_schema is not None


def test_instructions_make_a_system_message_where_there_is_none() -> None:
    request = ChatRequest((Message("user", "hi"),), json_schema={"type": "object"})
    assert [message.role for message in with_json_instructions(request).messages] == ["system", "user"]


def test_no_instructions_without_a_schema() -> None:
    request = ChatRequest((Message("user", "hi"),))
    assert with_json_instructions(request) is request


GOOD = '{"summary": "It works {really}."}'


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"  {GOOD}\n",
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}\n```",
        f"Here it is:\n```json\n{GOOD}\n```\nAnything else?",
        f"Sure! {GOOD} Hope that helps.",
        f"A set {{like this}} first, then {GOOD}",
        f'<think>maybe {{"summary": "no"}}?</think>\n{GOOD}',
    ],
)
def test_answers_that_are_understood(text: str) -> None:
    assert parse_output(text, Answer, "p").summary == "It works {really}."


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the answer holds no JSON object"),
        ("I cannot do that.", "the answer holds no JSON object"),
        ("[1, 2]", "the answer holds no JSON object"),
        ('{"summary": "cut of', "the answer holds no JSON object"),
        ("{}", "the answer does not fit: summary: missing"),
        ('{"summary": ""}', "the answer does not fit: summary: string_too_short (min_length 1)"),
        (
            '{"summary": "s", "steps": [{"title": 7}], "score": 2}',
            "the answer does not fit: score: less_than_equal (le 1.0); steps.0.title: string_type",
        ),
        (
            '{"summary": "s", "priority": "secret text"}',
            "the answer does not fit: priority: literal_error (expected 'low' or 'high')",
        ),
        ('{"summary": "s", "secret text": 1}', "the answer does not fit: ?: extra_forbidden"),
        ('{"summary": "s", "note": "secret text"}', "the answer does not fit: note: value_error"),
        ('{"summary": "s", "paid": {"kind": "secret text"}}', "the answer does not fit: paid: union_tag_invalid"),
    ],
)
def test_answers_that_do_not_fit(text: str, problem: str) -> None:
    with pytest.raises(InvalidOutputError) as caught:
        parse_output(text, Answer, "p")
    assert str(caught.value).startswith(problem)
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None
    assert caught.value.provider_id == "p"


@pytest.mark.parametrize("text", ["{" * 200_000, '{"a":' * 200_000, "```" * 100_000, "<think>" * 100_000 + "{"])
@pytest.mark.timeout(5)
def test_hostile_answers_cost_little(text: str) -> None:
    with pytest.raises(InvalidOutputError):
        parse_output(text, Answer, "p")


def test_problems_are_bounded() -> None:
    steps = ", ".join('{"title": 1}' for _ in range(100))
    with pytest.raises(InvalidOutputError) as caught:
        parse_output(f'{{"summary": "s", "steps": [{steps}]}}', Answer, "p")
    assert len(str(caught.value)) < 1500


def test_the_repair_shows_the_bad_answer_and_what_is_wrong() -> None:
    request = ChatRequest((Message("user", "hi"),), json_schema={"type": "object"})
    repair = repair_request(request, "{}", "the answer does not fit: summary: missing")
    assert [message.role for message in repair.messages] == ["user", "assistant", "user"]
    assert repair.messages[1].text == "{}"
    assert "summary: missing" in repair.messages[2].text
    assert repair.json_schema == request.json_schema


def test_the_repair_of_nothing_and_of_too_much() -> None:
    request = ChatRequest((Message("user", "hi"),))
    assert repair_request(request, "  ", "x").messages[1].text == "(empty)"
    assert len(repair_request(request, "x" * 100_000, "x").messages[1].text) == 20_000
