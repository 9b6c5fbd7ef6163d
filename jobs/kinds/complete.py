"""Kind ``complete``: messages or a prompt become the model's text; nothing is added."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from jobs.chat import ChatRequest, Message
from jobs.images import MAX_JOB_BYTES, ImagePart, size_bytes
from jobs.kind import Kind


class TextPart(BaseModel):
    """A piece of a message's text."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """One message of the conversation; its content is text, or parts as in OpenAI's chat completions."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    role: Literal["system", "user", "assistant"]
    content: (
        str | Annotated[tuple[Annotated[TextPart | ImagePart, Field(discriminator="type")], ...], Field(min_length=1)]
    )

    @model_validator(mode="after")
    def _images_are_the_users(self) -> "ChatMessage":
        if self.role != "user" and self.images:
            raise ValueError("images go with messages of the user")
        return self

    @property
    def images(self) -> tuple[ImagePart, ...]:
        """The pictures among the parts."""
        return () if isinstance(self.content, str) else tuple(p for p in self.content if isinstance(p, ImagePart))

    @property
    def text(self) -> str:
        """The text, all of it."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content if isinstance(part, TextPart))


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
        if size_bytes(image for message in self.messages or () for image in message.images) > MAX_JOB_BYTES:
            raise ValueError(f"images: more than {MAX_JOB_BYTES // 2**20} MiB in one job")
        return self


class Completion(BaseModel):
    """The model's answer."""

    text: str


def _messages(prompt: Prompt) -> tuple[Message, ...]:
    if prompt.messages is None:
        return (Message("user", prompt.prompt or ""),)
    return tuple(Message(m.role, m.text, tuple(image.image for image in m.images)) for m in prompt.messages)


def request(prompt: Prompt) -> ChatRequest:
    """The request for one prompt."""
    return ChatRequest(
        messages=_messages(prompt),
        max_output_tokens=prompt.max_tokens,
        temperature=prompt.temperature,
    )


KIND = Kind("complete", Prompt, Completion, request)
