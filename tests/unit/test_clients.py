"""Clients of a process: one for each state of a provider, counted while in use, whatever comes of the call."""

from collections.abc import AsyncIterator

import pytest

from config.keys import ProviderKey
from config.providers import builtin_providers
from config.registry import Entry
from config.settings import Settings
from worker.adapters import make_adapter
from worker.clients import ClientCache
from worker.session import guarded_session

GROQ = builtin_providers()["groq"]
KEY = ProviderKey("sk-1", 1)


@pytest.fixture
async def cache() -> AsyncIterator[ClientCache]:
    settings = Settings()
    async with guarded_session(settings.egress, settings.response_max_bytes) as session:
        yield ClientCache(lambda provider, key: make_adapter(provider, key, session, settings))


async def test_a_lease_counts_until_its_call_ends(cache: ClientCache) -> None:
    with cache.lease(Entry(GROQ, 1), KEY), cache.lease(Entry(GROQ, 1), KEY):
        assert cache.leases == 2
    with pytest.raises(OSError, match="cut"), cache.lease(Entry(GROQ, 1), KEY):
        raise OSError("cut")
    assert cache.leases == 0


async def test_a_lease_that_is_not_entered_makes_nothing(cache: ClientCache) -> None:
    cache.lease(Entry(GROQ, 1), KEY)
    assert (cache.live, cache.leases, cache.counters.made) == (0, 0, 0)


async def test_each_state_of_a_provider_has_its_client(cache: ClientCache) -> None:
    states = [(1, KEY), (2, KEY), (2, ProviderKey("sk-2", 2)), (2, None)]
    clients = []
    for generation, key in states:
        with cache.lease(Entry(GROQ, generation), key) as first, cache.lease(Entry(GROQ, generation), key) as second:
            assert first is second
            clients.append(first)
    assert len({id(client) for client in clients}) == len(states)
    assert (cache.live, cache.counters.made, cache.counters.reused) == (1, 4, 4)
    assert "sk-" not in repr(cache._clients)
