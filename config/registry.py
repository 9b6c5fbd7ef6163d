"""The registry in a process: which providers there are, as of which generation.

Truth is Postgres; Redis holds a snapshot of it; each process holds that snapshot in memory. ``refresh`` brings memory
up to date from the nearest place that is new enough. Away: with Redis gone it reads Postgres, with Postgres gone it
reads Redis, with both gone it goes on with what it has and counts that (``stale_reads``).
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from config.errors import InvalidProviderError, ServiceUnavailableError, UnknownNameError
from config.providers import Provider, parse_provider

NEGATIVE_TTL_S = 2.0
FORMAT = 1


@dataclass(frozen=True)
class Entry:
    """One provider and the generations in which its definition (0: as shipped) and its key last changed."""

    provider: Provider
    generation: int
    key_generation: int = 0


@dataclass(frozen=True)
class Snapshot:
    """All providers at one generation; ``damaged`` holds why an entry was set aside, by id."""

    generation: int
    entries: Mapping[str, Entry]
    damaged: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """The form that Redis holds."""
        entries = {
            key: {
                "definition": entry.provider.model_dump(mode="json"),
                "generation": entry.generation,
                "key_generation": entry.key_generation,
            }
            for key, entry in self.entries.items()
        }
        return json.dumps(
            {"format": FORMAT, "generation": self.generation, "entries": entries, "damaged": dict(self.damaged)}
        )

    @classmethod
    def from_json(cls, text: str) -> "Snapshot":
        """Reads what ``to_json`` wrote; an entry that cannot be read is set aside, the others stand.

        Raises:
            ValueError: this is no snapshot of ours, or one of another version.
        """
        data = json.loads(text)
        if not isinstance(data, dict) or data.get("format") != FORMAT or not isinstance(data.get("entries"), dict):
            raise ValueError("not a snapshot of this version")
        return read_entries(int(data["generation"]), data["entries"], dict(data.get("damaged", {})))


def read_entries(generation: int, rows: Mapping[str, Any], damaged: dict[str, str]) -> Snapshot:
    """A snapshot of ``{id: {"definition", "generation", …}}``; entries that do not parse go to ``damaged``."""
    entries: dict[str, Entry] = {}
    for key, row in rows.items():
        try:
            generations = int(row["generation"]), int(row.get("key_generation", 0))
            entries[key] = Entry(parse_provider(row["definition"]), *generations)
        except (InvalidProviderError, KeyError, TypeError, ValueError) as error:
            damaged[key] = str(error) if isinstance(error, InvalidProviderError) else "the entry cannot be read"
    return Snapshot(generation, entries, damaged)


class Source(Protocol):
    """Where a snapshot can be read."""

    def load(self) -> Snapshot | None:
        """The snapshot held there, None if there is none; raises ServiceUnavailableError when away."""


class Cache(Source, Protocol):
    """The copy in Redis."""

    def publish(self, snapshot: Snapshot) -> None:
        """Replaces an older copy and tells every process."""

    def generation(self) -> int | None:
        """The generation of the copy held, None if there is none."""


class Registry:
    """This process's view of the providers; reading it takes no lock and no call.

    Kept: the newest snapshot seen. Lifetime: until a newer one is seen by ``check``. An id that is not in it is looked
    up at the source once, and a negative answer stands for two seconds.

    Args:
        truth: Postgres.
        cache: Redis.
        clock: monotonic seconds.
    """

    def __init__(self, truth: Source, cache: Cache, clock: Callable[[], float] = time.monotonic) -> None:
        self._truth, self._cache, self._clock = truth, cache, clock
        self._snapshot: Snapshot | None = None
        self._missing: dict[str, float] = {}
        self._checked_at = float("-inf")
        self._lock = threading.Lock()
        self.stale_reads = 0

    @property
    def snapshot(self) -> Snapshot:
        """What is held, read first if nothing is held yet.

        Raises:
            ServiceUnavailableError: nothing is held and neither Redis nor Postgres answers.
        """
        return self._snapshot or self.refresh()

    @property
    def generation(self) -> int:
        """The generation held; 0 before the first read."""
        return self._snapshot.generation if self._snapshot else 0

    @property
    def age_s(self) -> float:
        """Seconds since this process last saw to it that nothing newer is there."""
        return self._clock() - self._checked_at

    def held(self, provider_id: str) -> Entry | None:
        """The provider as it is held in memory, without asking anybody."""
        return self._snapshot.entries.get(provider_id) if self._snapshot else None

    def resolve(self, provider_id: str) -> Entry:
        """The provider of that id.

        Raises:
            UnknownNameError: there is none, by Postgres' word of at most two seconds ago; known ones are named.
            ServiceUnavailableError: nothing is held and nothing can be read.
        """
        entry = self.snapshot.entries.get(provider_id)
        if entry is None and self._clock() - self._missing.get(provider_id, float("-inf")) > NEGATIVE_TTL_S:
            entry = self.refresh(from_truth=True).entries.get(provider_id)
            if entry is None:
                self._missing[provider_id] = self._clock()
        if entry is None:
            raise UnknownNameError("provider", provider_id, tuple(sorted(self.snapshot.entries)))
        return entry

    def check(self, max_age_s: float = 0.0) -> int:
        """Sees whether there is a newer generation, at most every ``max_age_s`` seconds, and returns the one held."""
        if self._clock() - self._checked_at >= max_age_s:
            try:
                held = self._cache.generation()
            except ServiceUnavailableError:
                held = None
            if held is None or held != self.generation:
                self.refresh(at_least=held)
            self._checked_at = self._clock()
        return self.generation

    def refresh(self, *, at_least: int | None = None, from_truth: bool = False) -> Snapshot:
        """Reads the snapshot anew.

        Args:
            at_least: a copy in Redis that is older will not do.
            from_truth: ask Postgres and not the copy.
        """
        with self._lock:
            found = None if from_truth else self._cached(max(at_least or 0, self.generation))
            truth = None if found else self._from_truth()
            found = found or truth or (self._cached(0) if from_truth else None)
            if found is None:
                if self._snapshot is None:
                    raise ServiceUnavailableError("Postgres", "registry", "no provider list can be read")
                self.stale_reads += 1
            elif found.generation >= self.generation or found is truth:  # Postgres is right even where it went back
                self._snapshot = found
                self._missing.clear()
            assert self._snapshot is not None  # noqa: S101 - one of the branches above has set it
            return self._snapshot

    def _cached(self, at_least: int) -> Snapshot | None:
        try:
            snapshot = self._cache.load()
        except ServiceUnavailableError:
            return None
        return snapshot if snapshot and snapshot.generation >= at_least else None

    def _from_truth(self) -> Snapshot | None:
        """What Postgres says, put into Redis for the others; None while Postgres is away and something is held."""
        try:
            snapshot = self._truth.load()
        except ServiceUnavailableError:
            if self._snapshot is None:
                raise
            return None
        try:
            if snapshot:
                self._cache.publish(snapshot)
        except ServiceUnavailableError:
            pass  # the next process that finds Redis without a snapshot puts it there
        return snapshot
