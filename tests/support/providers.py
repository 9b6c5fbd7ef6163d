"""Providers at a server on this machine; they need no key."""

from typing import Any

from config.providers import parse_provider
from producer.producer import Producer
from tests.support.llm_server import LLMServer

STRUCTURED: dict[str, Any] = {"capabilities": {"structured_output": True}}
"""A field for those that answer by a schema."""

_MODELS = {"openai-compatible": "gpt-4o", "groq": "llama-3.3-70b-versatile", "gemini": "gemini-2.5-flash"}


def add_local(
    producer: Producer, llm: LLMServer, provider_id: str, type_: str = "openai-compatible", **fields: Any
) -> int:
    """Adds a provider at the server, of a type, with further fields of its definition; returns its generation."""
    urls = {"openai-compatible": llm.openai_url, "groq": llm.groq_url, "gemini": llm.gemini_url}
    definition = {"id": provider_id, "name": "Local", "type": type_, "base_url": urls[type_]}
    return producer.providers.add(parse_provider({**definition, "default_model": _MODELS[type_], **fields}))
