"""What a job asks, as a number: two jobs with the same one would send the same request to the same model."""

import json
from hashlib import blake2b
from uuid import UUID

from pydantic_core import PydanticSerializationError, to_json

from jobs.chat import ChatRequest


def digest_of(kind: str, request: ChatRequest) -> bytes:
    """128 bits over a request, every field of it: prompt, input, images, schema, limits.

    So a prompt or a schema that changes has a version by itself, and nobody has to count it up. Of an input those
    fields count that the kind puts into its request.
    """
    try:
        text = to_json([kind, request])
    except PydanticSerializationError:  # half a surrogate pair, which the slower way escapes
        text = json.dumps([kind, request], default=vars).encode()
    return blake2b(text, digest_size=16).digest()


def content_key(digest: bytes, model: str) -> UUID:
    """The key of what was asked of a model, whoever offers it."""
    return UUID(bytes=blake2b(digest + model.encode(), digest_size=16).digest())
