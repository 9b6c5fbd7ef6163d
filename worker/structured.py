"""Structured answers: schemas that strict modes take, instructions for models without one, answers made into models."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from config.errors import InvalidOutputError
from jobs.chat import ChatRequest, Message

Output = TypeVar("Output", bound=BaseModel)

MAX_PROBLEMS = 20
MAX_BRACES = 50
MAX_QUOTED_CHARS = 20_000

# What OpenAI's strict mode takes, and Groq's and Gemini's too (their guides on structured outputs, 2026); each refuses
# a request that holds more. What is dropped and limits a value is told in the description, so that the model knows it.
_KEPT = ("type", "description", "enum", "required", "additionalProperties")
_TOLD = (
    *("minLength", "maxLength", "pattern", "format", "minItems", "maxItems"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
)
_MAPS = ("properties", "$defs")
_LISTS = {"anyOf": "anyOf", "oneOf": "anyOf", "allOf": "anyOf"}  # pydantic writes allOf for a single part only
_LIMITS = ("min_length", "max_length", "ge", "gt", "le", "lt", "multiple_of", "expected")

_FENCE = re.compile(r"```[a-zA-Z]*\s*(.*?)\s*```", re.DOTALL)
_DECODER = json.JSONDecoder()


def strict_schema(model_schema: dict[str, Any]) -> dict[str, Any]:
    """The schema as strict modes want it: every property required, none besides, and only keywords that they know.

    A mapping with free keys cannot be said in strict mode; it becomes an object without properties.

    Args:
        model_schema: a JSON schema as pydantic makes it.
    """
    if "$ref" in model_schema:
        return {"$ref": model_schema["$ref"]}
    schema = {key: model_schema[key] for key in _KEPT if key in model_schema} | _parts(model_schema)
    if "const" in model_schema:
        schema["enum"] = [model_schema["const"]]
    if schema.get("type") == "object":
        schema |= {"properties": schema.get("properties", {}), "additionalProperties": False}
        schema["required"] = list(schema["properties"])
    return _telling(schema, {key: model_schema[key] for key in _TOLD if key in model_schema})


def _parts(model_schema: dict[str, Any]) -> dict[str, Any]:
    """The schemas inside of a schema, made strict."""
    parts: dict[str, Any] = {
        key: {name: strict_schema(part) for name, part in model_schema[key].items()}
        for key in _MAPS
        if key in model_schema
    }
    for key, kept in _LISTS.items():
        if key in model_schema:
            parts[kept] = [strict_schema(part) for part in model_schema[key]]
    if isinstance(model_schema.get("items"), dict):
        parts["items"] = strict_schema(model_schema["items"])
    return parts


def _telling(schema: dict[str, Any], limits: dict[str, Any]) -> dict[str, Any]:
    if not limits:
        return schema
    told = ", ".join(f"{key} {value}" for key, value in limits.items())
    return schema | {"description": f"{schema.get('description', '')} ({told})".strip()}


def with_json_instructions(request: ChatRequest) -> ChatRequest:
    """The request for a provider without native schemas: the schema stands in the system message instead."""
    if request.json_schema is None:
        return request
    schema = json.dumps(request.json_schema, ensure_ascii=False, separators=(",", ":"))
    words = (
        "Answer with one JSON object that fits the following JSON schema, and with nothing else: "
        f"no explanation, no code fence.\n{schema}"
    )
    first, rest = request.messages[0], request.messages[1:]
    if first.role == "system":
        messages = (Message("system", f"{first.text}\n\n{words}"), *rest)
    else:
        messages = (Message("system", words), *request.messages)
    return replace(request, messages=messages, json_schema=None)


def parse_output(text: str, output: type[Output], provider_id: str) -> Output:
    """The answer as the kind's model; a code fence, a chain of thought and words around the one object are forgiven.

    Args:
        text: the answer.
        output: the kind's model.
        provider_id: who answered.

    Raises:
        InvalidOutputError: it does not fit; the message names fields and rules, never content.
    """
    found = _object_in(text)
    if found is None:
        raise InvalidOutputError(provider_id, "the answer holds no JSON object")
    try:
        return output.model_validate_json(found)
    except ValidationError as error:
        problems = _problems(error, output)
    raise InvalidOutputError(provider_id, f"the answer does not fit: {problems}")


def repair_request(request: ChatRequest, bad_text: str, problems: str) -> ChatRequest:
    """The request for the one repair: the conversation, the bad answer, and what is wrong with it.

    Args:
        request: the first request, as the kind made it.
        bad_text: the answer to it; the model sees it again, cut at 20,000 characters.
        problems: what does not fit.
    """
    words = f"{problems}. Answer again with the whole corrected JSON object, and with nothing else."
    bad = Message("assistant", bad_text[:MAX_QUOTED_CHARS].strip() or "(empty)")
    return replace(request, messages=(*request.messages, bad, Message("user", words)))


def _object_in(text: str) -> str | None:
    """The first JSON object of an answer, as text."""
    text = text.rpartition("</think>")[2]
    fenced = _FENCE.search(text)
    parts = [fenced[1], text] if fenced else [text]
    return next((found for part in parts for found in _objects(part)), None)


def _objects(text: str) -> Iterator[str]:
    """Objects that begin at one of the first braces; more are not tried, since a hostile answer is all braces."""
    start = -1
    for _ in range(MAX_BRACES):
        start = text.find("{", start + 1)
        if start < 0:
            return
        try:
            _, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        yield text[start:end]


def _problems(error: ValidationError, output: type[BaseModel]) -> str:
    """Fields and rules; a key that the schema does not know is the model's word and stays out."""
    known = _names(output)
    shown = []
    for item in error.errors(include_input=False, include_url=False)[:MAX_PROBLEMS]:
        place = ".".join(str(part) if isinstance(part, int) or part in known else "?" for part in item["loc"])
        limits = ", ".join(f"{key} {value}" for key, value in item.get("ctx", {}).items() if key in _LIMITS)
        shown.append(f"{place or 'answer'}: {item['type']}" + (f" ({limits})" if limits else ""))
    return "; ".join(shown)


@cache
def _names(output: type[BaseModel]) -> frozenset[str]:
    """All field names in the schema of a model."""

    def walk(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            properties = part.get("properties")
            yield from properties if isinstance(properties, dict) else ()
            for value in part.values():
                yield from walk(value)
        elif isinstance(part, list):
            for value in part:
                yield from walk(value)

    return frozenset(walk(output.model_json_schema()))
