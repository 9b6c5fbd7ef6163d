"""Kind ``complete``: messages or a prompt become the model's text; nothing is added."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from jobs.chat import ChatRequest, Message
from jobs.kind import Kind


class ChatMessage(BaseModel):
    """One message of the conversation."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    role: Literal["system", "user", "assistant"]
    content: str


class Prompt(BaseModel):
    """Either ``messages`` or ``prompt``; ``id`` and other fields are kept and not sent."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    prompt: Annotated[str, Field(min_length=1)] | None = None
    messages: Annotated[tuple[ChatMessage, ...], Field(min_length=1)] | None = None
    max_tokens: Annotated[int, Field(gt=0)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "Prompt":
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give either prompt or messages")
        return self


class Completion(BaseModel):
    """The model's answer."""

    text: str


def request(prompt: Prompt) -> ChatRequest:
    """The request for one prompt."""
    given = prompt.messages or (ChatMessage(role="user", content=prompt.prompt or ""),)
    return ChatRequest(
        messages=tuple(Message(message.role, message.content) for message in given),
        max_output_tokens=prompt.max_tokens,
        temperature=prompt.temperature,
    )


KIND = Kind("complete", Prompt, Completion, request)
