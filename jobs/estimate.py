"""How many tokens a request will be counted as: a guess from its bytes, since each provider counts in its own way."""

from pydantic_core import to_json

from jobs.chat import ChatRequest, Usage

BYTES_A_TOKEN = 3
"""Of UTF-8; between English (4) and text of other scripts (2 to 3)."""

MESSAGE_TOKENS = 4
IMAGE_TOKENS = 1000
UNKNOWN_OUTPUT_TOKENS = 512

TEMPLATE_TOKENS = 256
"""For what providers, and our JSON instructions of some 130 characters, put around a conversation."""

MOST_MESSAGE_TOKENS = 16
MOST_IMAGE_TOKENS = 2000
MOST_UNBOUNDED_OUTPUT_TOKENS = 4096


def input_tokens(request: ChatRequest) -> int:
    """A guess at what a request will be counted as: bytes of text / 3, 4 a message, 1000 an image."""
    text = _text_bytes(request)
    images = sum(len(message.images) for message in request.messages)
    return -(-text // BYTES_A_TOKEN) + MESSAGE_TOKENS * len(request.messages) + IMAGE_TOKENS * images


def most_tokens(request: ChatRequest) -> Usage:
    """The most tokens that a request can be counted as, for what must not be passed.

    A tokeniser that works on bytes, as all current ones do in the end, makes at most a token of each. The answer is
    bounded by the request; where it is not, 4096 is taken, and where there are images 2000 for each: those are guesses.
    """
    images = sum(len(message.images) for message in request.messages)
    frame = TEMPLATE_TOKENS + MOST_MESSAGE_TOKENS * len(request.messages)
    output = MOST_UNBOUNDED_OUTPUT_TOKENS if request.max_output_tokens is None else request.max_output_tokens
    return Usage(_text_bytes(request) + frame + MOST_IMAGE_TOKENS * images, output)


def _text_bytes(request: ChatRequest) -> int:
    text = sum(len(message.text.encode(errors="replace")) for message in request.messages)
    return text + (0 if request.json_schema is None else len(to_json(request.json_schema)))
