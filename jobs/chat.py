"""One request to a model and its reply, in terms that every provider shares: what kinds make and adapters send."""

from base64 import b64decode
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Image:
    """A picture that goes with a message, such as a screenshot; its content is kept out of ``repr``."""

    media_type: str
    base64: str = field(repr=False)

    @property
    def data_url(self) -> str:
        """The picture as a URL that holds it."""
        return f"data:{self.media_type};base64,{self.base64}"

    @property
    def content(self) -> bytes:
        """The picture's bytes."""
        return b64decode(self.base64)


@dataclass(frozen=True)
class Message:
    """One message of a conversation; the text is kept out of ``repr``, so that no log quotes a ticket."""

    role: Literal["system", "user", "assistant"]
    text: str = field(repr=False)
    images: tuple[Image, ...] = ()


@dataclass(frozen=True)
class ChatRequest:
    """What a kind asks of a model.

    Args:
        messages: the conversation, system messages first.
        max_output_tokens: upper bound of the answer; None leaves it to the provider.
        temperature: 0 to 2; None leaves it to the provider.
        json_schema: JSON schema that the answer must fit; None for free text.
        schema_name: what the schema is called on the wire.
    """

    messages: tuple[Message, ...]
    max_output_tokens: int | None = None
    temperature: float | None = None
    json_schema: dict[str, Any] | None = field(default=None, repr=False)
    schema_name: str = "output"


@dataclass(frozen=True)
class Usage:
    """Tokens that a provider counted."""

    input_tokens: int = 0
    output_tokens: int = 0

    def __bool__(self) -> bool:
        """Whether any were."""
        return bool(self.input_tokens or self.output_tokens)

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens)


NO_USAGE = Usage()


@dataclass(frozen=True)
class ChatReply:
    """A model's answer; the text is kept out of ``repr``.

    Args:
        text: the answer.
        usage: tokens counted by the provider; zeros where it did not say.
        model: the model that answered, by the provider's own word.
    """

    text: str = field(repr=False)
    usage: Usage
    model: str
