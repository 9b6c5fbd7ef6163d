"""The registry on real Postgres and Redis: one generation, a snapshot that heals, an answer while one is away."""

from collections.abc import Iterator

import pytest

from config.egress import EgressPolicy
from config.errors import ConflictError, InvalidProviderError, ServiceUnavailableError, UnknownNameError
from config.providers import Provider, parse_provider
from config.redis_names import REGISTRY_CHANNEL, REGISTRY_GENERATION, REGISTRY_SNAPSHOT
from config.registry import Registry, Snapshot
from config.registry_cache import RedisCache
from producer.producer import Producer
from tests.conftest import Stack
from tests.support.waiting import wait_for


@pytest.fixture
def producer(stack: Stack) -> Iterator[Producer]:
    with Producer(stack.settings) as producer:
        yield producer


class Away:
    """Postgres or Redis while it cannot be reached."""

    def load(self) -> Snapshot:
        raise ServiceUnavailableError("a service", "somewhere")

    def generation(self) -> int:
        raise ServiceUnavailableError("a service", "somewhere")

    def publish(self, snapshot: Snapshot) -> None:
        raise ServiceUnavailableError("a service", "somewhere")


def custom(number: int = 1, **fields: object) -> Provider:
    given = {"name": f"P{number}", "base_url": f"http://localhost:{9000 + number}/v1", "default_model": "m"}
    return parse_provider({"id": f"custom-{number}", "type": "openai-compatible", **given, **fields})


def cache_of(producer: Producer) -> RedisCache:
    return RedisCache(producer.redis, producer.settings.redis_url)


def test_adding_and_removing(producer: Producer) -> None:
    before = producer.registry.check()
    assert producer.providers.add(custom()) == before + 1
    entry = producer.registry.resolve("custom-1")
    assert (entry.provider, entry.generation) == (custom(), before + 1)
    with pytest.raises(ConflictError, match="exists already"):
        producer.providers.add(custom())
    assert producer.providers.remove("custom-1") == before + 2, "a refused change costs no generation"
    producer.registry.check()
    with pytest.raises(UnknownNameError, match="known: gemini, groq, openai"):
        producer.registry.resolve("custom-1")
    with pytest.raises(UnknownNameError):
        producer.providers.remove("custom-1")


def test_builtins_stay(producer: Producer) -> None:
    with pytest.raises(ConflictError, match="cannot be removed"):
        producer.providers.remove("groq")
    with pytest.raises(ConflictError, match="exists already"):
        producer.providers.add(custom(id="groq"))


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/v1",
        "https://10.0.0.1/v1",
        "https://169.254.169.254/",
        "ftp://example.com",
        "https://u:p@x.com",
    ],
)
def test_a_base_url_that_may_not_be_dialled_is_refused(producer: Producer, url: str) -> None:
    with pytest.raises(InvalidProviderError):
        producer.providers.add(custom(base_url=url))


def test_every_change_is_published(producer: Producer) -> None:
    pubsub = producer.redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    pubsub.subscribe(REGISTRY_CHANNEL)
    generation = producer.providers.add(custom())
    message = wait_for(lambda: pubsub.get_message(timeout=1), "message")
    assert int(message["data"]) == generation
    assert producer.redis.get(REGISTRY_GENERATION) == str(generation)
    pubsub.close()


def test_an_older_snapshot_never_replaces_a_newer_one(producer: Producer) -> None:
    old = producer.providers.load()
    generation = producer.providers.add(custom())
    cache_of(producer).publish(old)
    held = cache_of(producer).load()
    assert held is not None
    assert held.generation == generation


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"format": 99}', '{"format": 1, "entries": {}}'])
def test_a_snapshot_that_is_not_ours_is_replaced(producer: Producer, text: str) -> None:
    producer.providers.add(custom())
    producer.redis.set(REGISTRY_SNAPSHOT, text)
    assert Registry(producer.providers, cache_of(producer)).resolve("custom-1").provider == custom()
    held = cache_of(producer).load()
    assert held is not None
    assert "custom-1" in held.entries


def test_an_emptied_redis_is_filled_again(producer: Producer) -> None:
    producer.providers.add(custom())
    producer.registry.check()
    producer.redis.flushdb()
    producer.registry.check()
    assert cache_of(producer).generation() == producer.registry.generation


def test_a_damaged_row_is_set_aside_and_hides_no_other(producer: Producer) -> None:
    producer.providers.add(custom(1))
    producer.providers.add(custom(2))
    producer.database.query("""UPDATE providers SET definition = '{"name": 5}' WHERE id = 'custom-1'""")
    producer.database.query("INSERT INTO providers VALUES ('custom-3', '[1]', 1)")
    snapshot = producer.providers.load()
    assert "custom-2" in snapshot.entries
    assert set(snapshot.damaged) == {"custom-1", "custom-3"}
    assert "name" in snapshot.damaged["custom-1"]
    assert Snapshot.from_json(snapshot.to_json()) == snapshot


def test_with_redis_away_postgres_is_asked(producer: Producer) -> None:
    producer.providers.add(custom())
    assert Registry(producer.providers, Away()).resolve("custom-1").provider == custom()


def test_with_postgres_away_the_snapshot_serves(producer: Producer) -> None:
    producer.providers.add(custom())
    registry = Registry(Away(), cache_of(producer))
    assert registry.resolve("custom-1").provider == custom()
    with pytest.raises(UnknownNameError):
        registry.resolve("custom-2")


def test_with_both_away_what_is_held_serves_and_is_counted(producer: Producer) -> None:
    registry = Registry(producer.providers, cache_of(producer))
    registry.check()
    registry._truth = registry._cache = Away()
    assert registry.resolve("groq").provider.id == "groq"
    registry.check()
    assert registry.stale_reads == 1
    with pytest.raises(ServiceUnavailableError):
        Registry(Away(), Away()).resolve("groq")


def test_an_unknown_id_is_looked_up_at_the_source_once_in_two_seconds(producer: Producer) -> None:
    now_s = 0.0
    registry = Registry(producer.providers, cache_of(producer), lambda: now_s)
    registry.check()
    with pytest.raises(UnknownNameError):
        registry.resolve("custom-1")
    producer.providers.add(custom())
    with pytest.raises(UnknownNameError):
        registry.resolve("custom-1")
    now_s = 2.5
    assert registry.resolve("custom-1").provider == custom()


def test_an_operator_may_allow_a_network(stack: Stack) -> None:
    settings = stack.settings.model_copy(update={"egress_allow_hosts": ("models.internal",)})
    assert settings.egress == EgressPolicy((), frozenset({"models.internal"}))
    with Producer(settings) as producer:
        producer.providers.add(custom(base_url="http://models.internal:8000/v1"))


def test_a_change_keeps_what_it_does_not_name(producer: Producer) -> None:
    producer.providers.add(custom(capabilities={"multimodal": True}, timeout_s=7))
    generation = producer.providers.change(
        "custom-1", {"default_model": "n", "capabilities": {"structured_output": True}}
    )
    producer.registry.check()
    entry = producer.registry.resolve("custom-1")
    assert entry.generation == generation
    assert (entry.provider.default_model, entry.provider.timeout_s) == ("n", 7)
    assert (entry.provider.capabilities.structured_output, entry.provider.capabilities.multimodal) == (True, True)


def test_a_builtin_is_overridden_field_by_field_and_taken_back(producer: Producer) -> None:
    producer.providers.change("gemini", {"default_model": "mine", "enabled": False})
    producer.providers.change("gemini", {"capabilities": {"structured_output": False}})
    entry = producer.providers.load().entries["gemini"]
    assert (entry.provider.default_model, entry.provider.enabled) == ("mine", False)
    assert entry.provider.capabilities.multimodal, "as shipped"
    with pytest.raises(ConflictError, match="disabled"):
        producer.enqueue("complete", {"prompt": "x"}, provider="gemini")
    generation = producer.providers.reset("gemini")
    entry = producer.providers.load().entries["gemini"]
    assert (entry.provider.default_model, entry.generation) == ("gemini-2.5-flash", 0)
    assert producer.registry.check() == generation
    with pytest.raises(ConflictError, match="not built in"):
        producer.providers.reset("custom-1")


@pytest.mark.parametrize(
    "fields", [{"base_url": "http://example.com"}, {"name": ""}, {"type": "x"}, {"timeout_s": -1}, {"unknown": 1}]
)
def test_a_change_that_would_not_be_acceptable_changes_nothing(producer: Producer, fields: dict[str, object]) -> None:
    before = producer.providers.load()
    with pytest.raises(InvalidProviderError):
        producer.providers.change("groq", fields)
    with pytest.raises(UnknownNameError):
        producer.providers.change("grok", {"name": "x"})
    assert producer.providers.load() == before


def test_all_customs_can_be_removed_and_overrides_stay(producer: Producer) -> None:
    producer.providers.add(custom(1))
    producer.providers.change("groq", {"default_model": "mine"})
    producer.database.query("INSERT INTO providers VALUES ('damaged', '[1]', 1)")
    producer.providers.remove_all_custom()
    snapshot = producer.providers.load()
    assert set(snapshot.entries) == {"groq", "gemini", "openai"}
    assert snapshot.damaged == {}
    assert snapshot.entries["groq"].provider.default_model == "mine"


def test_setting_a_key_is_a_change_that_leaves_the_definition_alone(producer: Producer) -> None:
    producer.providers.add(custom())
    before = producer.providers.load()
    for provider_id in ("groq", "custom-1"):
        generation = producer.providers.key_was_set(provider_id)
        producer.registry.check()
        entry = producer.registry.resolve(provider_id)
        assert (entry.key_generation, entry.generation) == (generation, before.entries[provider_id].generation)
        assert entry.provider == before.entries[provider_id].provider
    with pytest.raises(UnknownNameError):
        producer.providers.key_was_set("custom-2")
    producer.providers.change("groq", {"default_model": "m"})
    assert producer.providers.load().entries["groq"].key_generation > 0, "a change of the definition keeps it"


def test_a_registry_that_went_back_in_time_overtakes_the_copies(producer: Producer) -> None:
    """Postgres was restored from a backup: Redis and the processes hold generations that it never saw."""
    producer.providers.add(custom())
    producer.providers.add(custom(2))
    assert producer.providers.overtake() is None
    ahead = producer.registry.check()
    producer.database.query("UPDATE registry SET generation = 1")
    producer.database.query("DELETE FROM providers WHERE id = 'custom-2'")
    assert producer.registry.check() == ahead, "nobody has looked at Postgres yet"
    assert producer.providers.overtake() == ahead + 1
    assert producer.registry.check() == ahead + 1
    assert "custom-2" not in producer.registry.snapshot.entries
    producer.database.query("UPDATE registry SET generation = 1")
    assert producer.providers.change("groq", {"default_model": "m"}) == ahead + 2, "a change overtakes by itself"


def test_postgres_is_right_even_when_redis_was_emptied_and_it_went_back(producer: Producer) -> None:
    producer.providers.add(custom())
    ahead = producer.registry.check()
    producer.redis.flushdb()
    producer.database.query("UPDATE registry SET generation = 1")
    producer.database.query("DELETE FROM providers")
    assert producer.registry.check() == 1 < ahead
    assert "custom-1" not in producer.registry.snapshot.entries
