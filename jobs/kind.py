"""What a job kind is: a validated input, a request to a model, a validated output."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from config.errors import InvalidInputError
from jobs.chat import ChatRequest
from jobs.terms import MAX_NAME


@dataclass(frozen=True)
class NewJob:
    """A valid input, as the JSON text that is stored, and the caller's name for the job."""

    input: str = field(repr=False)
    custom_id: str | None = None


@dataclass(frozen=True)
class Kind:
    """One kind of job.

    Args:
        name: what producers call it.
        input: model of what is asked; its ``id``, where it has one, names the job in results.
        output: model of what comes of it.
        request: makes the request to a model of a valid input. If the request carries a JSON schema the answer is
            parsed and validated as ``output``; else ``output`` is made with the answer as its field ``text``. None if
            the job looks at the provider itself, which works for a disabled one too; see ``worker.inspection``.
        max_attempts: most calls for one job; None is the process' default. The provider may say less.
        total_time_s: for so long a job is tried; None is the process' default. The provider may say less.
    """

    name: str
    input: type[BaseModel]
    output: type[BaseModel]
    request: Callable[[Any], ChatRequest] | None
    max_attempts: int | None = None
    total_time_s: float | None = None

    def accept(self, data: Any, custom_id: str | None = None) -> NewJob:
        """A job to enqueue, of an input given as an object.

        Raises:
            InvalidInputError: with every field that does not fit, never with its content.
        """
        try:
            return self.accept_json(to_json(data), custom_id)
        except (PydanticSerializationError, UnicodeError):
            raise InvalidInputError(((0, "input: it holds something that JSON cannot carry"),)) from None

    def accept_json(self, text: bytes | str, custom_id: str | None = None) -> NewJob:
        """A job to enqueue, of an input given as JSON text; named by ``custom_id`` (here or in the input) or ``id``.

        Raises:
            InvalidInputError: with every field that does not fit, never with its content.
        """
        try:
            model = self.input.model_validate_json(text)
        except ValidationError as error:
            raise InvalidInputError(((0, describe(error)),)) from None
        given = {**model.__dict__, **(model.model_extra or {})}  # asking a model for what it lacks takes long
        names = (custom_id, given.get("custom_id"), given.get("id"))
        name = next((name for name in names if name is not None), None)
        return NewJob(model.model_dump_json(exclude_unset=True), None if name is None else _checked_name(name))

    def request_of(self, stored: str) -> ChatRequest:
        """The request for an input as it was stored (JSON text)."""
        assert self.request is not None  # noqa: S101 - whoever asks has seen that the kind asks a model
        return self.request(self.input.model_validate_json(stored))


def _checked_name(name: Any) -> str:
    if not isinstance(name, str | int) or not 0 < len(str(name)) <= MAX_NAME or "\0" in str(name):
        raise InvalidInputError(((0, f"custom_id or id: must be text of 1 to {MAX_NAME} characters"),))
    return str(name)


def describe(error: ValidationError) -> str:
    """What does not fit, field by field, without the content that did not."""
    problems = (
        f"{'.'.join(map(str, item['loc'])) or 'input'}: {item['msg']}" for item in error.errors(include_input=False)
    )
    return "; ".join(problems)
