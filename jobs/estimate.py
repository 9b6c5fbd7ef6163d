"""How many tokens a request will be counted as: a guess from its bytes, since each provider counts in its own way."""

from pydantic_core import to_json

from jobs.chat import ChatRequest

BYTES_A_TOKEN = 3
"""Of UTF-8; between English (4) and text of other scripts (2 to 3)."""

MESSAGE_TOKENS = 4
IMAGE_TOKENS = 1000
UNKNOWN_OUTPUT_TOKENS = 512


def input_tokens(request: ChatRequest) -> int:
    """A guess at what a request will be counted as: bytes of text / 3, 4 a message, 1000 an image."""
    text = sum(len(message.text.encode(errors="replace")) for message in request.messages)
    if request.json_schema is not None:
        text += len(to_json(request.json_schema))
    images = sum(len(message.images) for message in request.messages)
    return -(-text // BYTES_A_TOKEN) + MESSAGE_TOKENS * len(request.messages) + IMAGE_TOKENS * images
