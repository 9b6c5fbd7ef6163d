"""What a provider is: data. Its ``type`` picks the wire protocol; nothing ever branches on its ``id``."""

import re
import tomllib
import unicodedata
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from config.errors import InvalidProviderError

ProviderType = Literal["groq", "gemini", "openai-compatible"]
ProviderId = Annotated[str, Field(pattern=r"^[a-z0-9-]+$", min_length=1, max_length=64)]


MAX_USD_PER_MILLION = 1_000_000.0
"""A dollar a token: far above any price, and so that sums stay numbers."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Model(_Frozen):
    """One model of a provider; prices are USD per million tokens where known."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    name: str | None = None
    context_window_tokens: Annotated[int, Field(gt=0)] | None = None
    input_usd_per_million: Annotated[float, Field(ge=0, le=MAX_USD_PER_MILLION)] | None = None
    output_usd_per_million: Annotated[float, Field(ge=0, le=MAX_USD_PER_MILLION)] | None = None


class Capabilities(_Frozen):
    """What the endpoint is known to do; a custom one starts with none, until more is proven."""

    structured_output: bool = False
    multimodal: bool = False


class Limits(_Frozen):
    """What the provider allows us, over all processes; None is unlimited."""

    requests_per_minute: Annotated[int, Field(gt=0)] | None = None
    tokens_per_minute: Annotated[int, Field(gt=0)] | None = None
    calls_in_flight: Annotated[int, Field(gt=0)] | None = None


class Provider(_Frozen):
    """The definition of a provider, as it is stored, cached and shown.

    Args:
        id: its name in jobs, messages and Vault.
        name: what people read.
        type: the wire protocol, and with it the adapter.
        base_url: HTTPS, or HTTP to localhost; without a trailing slash.
        default_model: used where a job names none.
        timeout_s: total deadline of one call.
        max_attempts: most calls for one job here; None is the process' default. The kind may say less.
        total_time_s: for so long a job is tried here; None is the process' default. The kind may say less.
    """

    id: ProviderId
    name: Annotated[str, Field(min_length=1, max_length=50)]
    type: ProviderType
    base_url: Annotated[str, Field(min_length=1, max_length=500)]
    default_model: Annotated[str, Field(min_length=1, max_length=200)]
    models: tuple[Model, ...] = ()
    capabilities: Capabilities = Capabilities()
    limits: Limits = Limits()
    timeout_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    max_attempts: Annotated[int, Field(gt=0, le=100)] | None = None
    total_time_s: Annotated[float, Field(gt=0)] | None = None
    enabled: bool = True
    is_custom: bool = True

    def model_named(self, name: str | None) -> Model | None:
        """What is known of a model, the default one for None; None where nothing is."""
        wanted = name or self.default_model
        return next((model for model in self.models if model.id == wanted), None)


def parse_provider(definition: dict[str, Any]) -> Provider:
    """A provider from stored or given data.

    Raises:
        InvalidProviderError: with every field that is wrong, in words.
    """
    try:
        return Provider.model_validate(definition)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise InvalidProviderError(f"provider {definition.get('id', '(no id)')!s}: {problems}") from None


def overlaid(definition: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A definition with some fields changed; of ``capabilities`` and ``limits`` only the parts that are named."""
    merged = dict(definition)
    for field, value in changes.items():
        before = merged.get(field)
        merged[field] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


@cache
def builtin_providers() -> dict[str, Provider]:
    """Groq, Gemini and OpenAI as shipped, by id, from ``builtin_providers.toml``."""
    table = tomllib.loads(files("config").joinpath("builtin_providers.toml").read_text(encoding="utf-8"))
    return {key: parse_provider({"id": key, "is_custom": False, **fields}) for key, fields in table.items()}


def custom_id(name: str) -> str:
    """The id that a custom provider gets when none is given: ``custom-`` and a slug of its name.

    Raises:
        InvalidProviderError: nothing of the name can stand in an id.
    """
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_name.lower()).strip("-")[:57].strip("-")
    if not slug:
        raise InvalidProviderError(f"no id can be made of the name {name!r}: give one with --id")
    return f"custom-{slug}"
