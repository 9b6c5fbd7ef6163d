"""Providers as TOML: what is written is read back the same, what is wrong is all named, the difference is exact."""

from typing import Any

import pytest

from config.egress import EgressPolicy
from config.errors import InvalidProviderError
from config.providers import Provider, builtin_providers, overlaid, parse_provider
from producer.provider_file import MAX_FILE_BYTES, difference, parse, render

POLICY = EgressPolicy()
GROQ = builtin_providers()["groq"]


def custom(provider_id: str = "custom-a", **fields: Any) -> Provider:
    given = {"name": "A", "type": "openai-compatible", "base_url": "http://localhost:1/v1", "default_model": "m"}
    return parse_provider({"id": provider_id, **given, **fields})


def groq(**fields: Any) -> Provider:
    return parse_provider(overlaid(GROQ.model_dump(mode="json"), fields))


FULL = custom(
    models=[{"id": "m", "name": 'M "quoted"', "context_window_tokens": 10, "input_usd_per_million": 0.5}, {"id": "n"}],
    capabilities={"structured_output": True},
    limits={"requests_per_minute": 60, "calls_in_flight": 3},
    timeout_s=12.5,
    enabled=False,
)


@pytest.mark.parametrize(
    "provider",
    [custom(), FULL, groq(enabled=False), groq(default_model="x", limits={"tokens_per_minute": 9}), groq(models=[])],
    ids=["plain", "full", "disabled", "overridden", "no models"],
)
def test_what_is_written_is_read_back(provider: Provider) -> None:
    text = render({provider.id: provider})
    assert parse(text.encode(), POLICY) == {provider.id: provider}
    assert difference({provider.id: provider}, parse(text.encode(), POLICY), prune=True, damaged={}) == []


def test_a_built_in_says_only_what_differs() -> None:
    assert "[" not in render({"groq": GROQ})
    text = render({"groq": groq(limits={"requests_per_minute": 5}), "custom-a": custom()})
    assert "[groq.limits]\nrequests_per_minute = 5\n" in text
    assert "base_url" not in text.split("[groq")[1]
    assert text.index("[custom-a]") < text.index("[groq.limits]"), "in the order of ids, so that versions compare"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"\xff", "not UTF-8 at byte 1"),
        (b"[custom-a", "not TOML"),
        (b"[a]\nx=1\n[a]\n", "not TOML"),
        (b"groq = 3", "must be a table"),
        (b"[groq]\nkey = 'sk-1'", "groq: key: Extra inputs"),
        (b"[groq]\nid = 'x'", "id: is not given in files"),
        (b"[groq]\nbase_url = 'http://10.0.0.1'", "groq: base_url: 10.0.0.1 is a private"),
        (b"[Custom]\nname = 'A'", "Custom: "),
        (b"[custom-a]\nname = 'A'", "default_model: Field required"),
        (b"#" * (MAX_FILE_BYTES + 1), "larger than 1 MiB"),
        (b"a = " + b"[" * 5000, "not TOML"),
    ],
)
def test_a_bad_file_is_refused_in_words(text: bytes, words: str) -> None:
    with pytest.raises(InvalidProviderError) as caught:
        parse(text, POLICY)
    assert words in str(caught.value)
    assert "sk-1" not in str(caught.value)


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(InvalidProviderError) as caught:
        parse(b"[groq]\nx = 1\n[openai]\ntimeout_s = -1\n[custom-a]\nname = ''\n", POLICY)
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        "provider groq",
        "provider openai",
        "provider custom-a",
    ]


def test_the_difference_names_each_field() -> None:
    stored = {"groq": groq(default_model="old"), "gemini": builtin_providers()["gemini"], "custom-a": custom()}
    wanted = {"groq": groq(default_model="new"), "custom-b": custom("custom-b")}
    changes = {c.provider_id: c for c in difference(stored, wanted, prune=False, damaged={})}
    assert changes.keys() == {"groq", "custom-b"}
    assert changes["groq"].fields == {"default_model": ("old", "new")}
    assert changes["groq"].definition == {"default_model": "new"}
    assert changes["custom-b"].action == "add"
    pruned = difference(stored, {}, prune=True, damaged={"custom-broken": "cannot be read"})
    assert [(c.provider_id, c.action, c.definition) for c in pruned] == [
        ("custom-a", "remove", None),
        ("custom-broken", "remove", None),
        ("groq", "reset", None),
    ]
    back = difference(stored, {"groq": GROQ}, prune=False, damaged={})
    assert [(c.action, c.definition) for c in back] == [("change", None)], "as shipped: nothing is stored of it"


def test_an_empty_file_changes_nothing() -> None:
    assert difference({"custom-a": custom()}, parse(b"", POLICY), prune=False, damaged={}) == []
