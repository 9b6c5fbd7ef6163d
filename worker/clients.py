"""The clients of this process, by provider, generation, key version and base URL: leased, bounded, replaced."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple

from config.keys import ProviderKey
from config.providers import Provider
from config.registry import Entry
from worker.adapters import Adapter

MAX_CLIENTS = 64

Make = Callable[[Provider, str | None], Adapter]


class ClientKey(NamedTuple):
    """What a client was made for; never the key itself."""

    provider_id: str
    generation: int
    key_version: int | None
    base_url: str


@dataclass
class Counters:
    """What the cache has done since the process started."""

    made: int = 0
    reused: int = 0
    invalidated: int = 0


class ClientCache:
    """SDK clients by what they were made for.

    Key: provider, generation of its definition, key version, base URL. Lifetime: until the provider or its key
    changes, when the entry leaves the map at once; calls that hold a lease end on the client that they have, and the
    last one drops it. Eviction: least recently used beyond ``size``. Clients are thin objects over the process' one
    session and need no closing. Used from the event loop alone, so it takes no lock.

    Args:
        make: builds the adapter of a provider.
        size: most clients kept.
    """

    def __init__(self, make: Make, size: int = MAX_CLIENTS) -> None:
        self._make, self._size = make, size
        self._clients: OrderedDict[ClientKey, Adapter] = OrderedDict()
        self._current: dict[str, ClientKey] = {}
        self.leases = 0
        self.counters = Counters()

    @property
    def live(self) -> int:
        """Clients in the map."""
        return len(self._clients)

    def lease(self, entry: Entry, key: ProviderKey | None) -> "_Lease":
        """A client for the length of a call."""
        return _Lease(self, entry, key)

    def client(self, entry: Entry, key: ProviderKey | None) -> Adapter:
        """The client of a provider, made where there is none."""
        provider = entry.provider
        name = ClientKey(provider.id, entry.generation, key.version if key else None, provider.base_url)
        return self._found(name) or self._made(name, provider, key)

    def invalidate(self, entries: dict[str, Entry]) -> None:
        """Drops the clients of providers that changed or are gone; the others stay as they are."""
        for name in list(self._clients):
            entry = entries.get(name.provider_id)
            if entry is None or entry.generation != name.generation:
                self._drop(name)

    def _found(self, name: ClientKey) -> Adapter | None:
        client = self._clients.get(name)
        if client is not None:
            self._clients.move_to_end(name)
            self.counters.reused += 1
        return client

    def _made(self, name: ClientKey, provider: Provider, key: ProviderKey | None) -> Adapter:
        client = self._make(provider, key.value if key else None)
        older = self._current.get(provider.id)
        if older is not None:
            self._drop(older)
        self._clients[name] = client
        self._current[provider.id] = name
        self.counters.made += 1
        while len(self._clients) > self._size:
            self._drop(next(iter(self._clients)))
        return client

    def _drop(self, name: ClientKey) -> None:
        if self._clients.pop(name, None) is not None:
            self.counters.invalidated += 1
        if self._current.get(name.provider_id) == name:
            del self._current[name.provider_id]


class _Lease:
    """A client while it is in use.

    Args:
        cache: keeps the client.
        entry: its provider.
        key: the provider's.
    """

    def __init__(self, cache: ClientCache, entry: Entry, key: ProviderKey | None) -> None:
        self._cache, self._entry, self._key = cache, entry, key

    def __enter__(self) -> Adapter:
        client = self._cache.client(self._entry, self._key)
        self._cache.leases += 1
        return client

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cache.leases -= 1
