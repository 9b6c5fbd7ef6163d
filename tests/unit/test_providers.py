"""Provider definitions: what is accepted, what ids are made, and that the built-ins are sound."""

import pytest

from config.egress import EgressPolicy
from config.errors import InvalidProviderError
from config.providers import Provider, builtin_providers, custom_id, parse_provider

GOOD = {
    "id": "custom-a",
    "name": "A",
    "type": "openai-compatible",
    "base_url": "http://localhost:11434/v1",
    "default_model": "llama",
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "Groq"),
        ("id", ""),
        ("id", "a" * 65),
        ("id", "a_b"),
        ("id", "a\n"),
        ("name", ""),
        ("name", "x" * 51),
        ("type", "anthropic"),
        ("default_model", ""),
        ("timeout_s", 0),
        ("timeout_s", float("nan")),
        ("api_key", "sk-secret"),
    ],
)
def test_a_field_that_is_wrong_is_named(field: str, value: object) -> None:
    with pytest.raises(InvalidProviderError, match=field) as caught:
        parse_provider({**GOOD, field: value})
    assert "sk-secret" not in str(caught.value)


def test_a_definition_survives_storage() -> None:
    provider = parse_provider(GOOD)
    assert parse_provider(provider.model_dump(mode="json")) == provider
    assert provider.is_custom
    assert not provider.capabilities.structured_output, "nothing is assumed of an endpoint that nobody has tried"


def test_the_builtins() -> None:
    assert set(builtin_providers()) == {"groq", "gemini", "openai"}
    for provider in builtin_providers().values():
        assert isinstance(provider, Provider)
        assert not provider.is_custom
        assert EgressPolicy().base_url_problem(provider.base_url) is None
        assert provider.default_model in {model.id for model in provider.models}


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("My Ollama", "custom-my-ollama"),
        ("  Über  Büro!! ", "custom-uber-buro"),
        ("a" * 50, "custom-" + "a" * 50),
        ("LM Studio (2nd floor)", "custom-lm-studio-2nd-floor"),
    ],
)
def test_ids_of_customs(name: str, slug: str) -> None:
    assert custom_id(name) == slug
    assert parse_provider({**GOOD, "id": slug}).id == slug


@pytest.mark.parametrize("name", ["", "…", "日本語"])
def test_a_name_without_letters_needs_an_id(name: str) -> None:
    with pytest.raises(InvalidProviderError, match="--id"):
        custom_id(name)
