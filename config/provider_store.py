"""The registry's truth in Postgres: overrides of built-ins and custom providers, under one generation."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from psycopg.types.json import Jsonb

from config.database import Connection, Database
from config.egress import EgressPolicy
from config.errors import ConflictError, InvalidProviderError, ServiceUnavailableError, UnknownNameError
from config.providers import Provider, builtin_providers, overlaid, parse_provider
from config.registry import Cache, Snapshot, read_entries
from config.resources import text_of


class ProviderStore:
    """Reads and changes the providers; each change is one transaction and one new generation.

    After the commit the new snapshot is put into Redis. If Redis is away then, the change stands: processes find it at
    their next check, because they ask Postgres while Redis has nothing newer.

    Args:
        database: Postgres.
        cache: Redis.
        egress: what an operator allows as a base URL.
    """

    def __init__(self, database: Database, cache: Cache, egress: EgressPolicy) -> None:
        self._database, self._cache, self._egress = database, cache, egress

    def load(self) -> Snapshot:
        """All providers as of now."""
        with self._database.transaction() as connection:
            return _load(connection)

    def add(self, provider: Provider) -> int:
        """Adds a custom provider and returns the new generation.

        Raises:
            ConflictError: the id is taken.
            InvalidProviderError: the base URL may not be dialled.
        """
        self._check_url(provider)
        with self._change() as (connection, generation):
            if provider.id in builtin_providers() or self._row(connection, provider.id):
                raise ConflictError(f"a provider with the id {provider.id} exists already")
            _write(connection, provider.id, provider.model_dump(mode="json", exclude={"id"}), generation)
        return generation

    def change(self, provider_id: str, fields: Mapping[str, Any]) -> int:
        """Changes fields of a provider, validated as a whole, and returns the new generation.

        Of a built-in only the fields that were ever changed are stored: the others follow new versions as shipped.

        Args:
            provider_id: a built-in or custom provider.
            fields: new values by field of ``Provider``.

        Raises:
            UnknownNameError: there is none.
            InvalidProviderError: the whole would not be acceptable.
        """
        with self._change() as (connection, generation):
            row = self._row(connection, provider_id)
            builtin = builtin_providers().get(provider_id)
            if row is None and builtin is None:
                raise UnknownNameError("provider", provider_id, tuple(sorted(_load(connection).entries)))
            stored = overlaid(row["definition"] if row else {}, fields)
            shipped = builtin.model_dump(mode="json") if builtin else {"id": provider_id}
            self._check_url(parse_provider(overlaid(shipped, stored)))
            _write(connection, provider_id, stored, generation)
        return generation

    def reset(self, provider_id: str) -> int:
        """Takes back every change to a built-in and returns the new generation.

        Raises:
            ConflictError: it is not built in.
        """
        if provider_id not in builtin_providers():
            raise ConflictError(f"{provider_id} is not built in: there is nothing to go back to")
        with self._change() as (connection, generation):
            connection.execute(_sql("delete_provider"), {"id": provider_id})
        return generation

    def remove_all_custom(self) -> int:
        """Removes every custom provider, damaged ones too, and returns the new generation."""
        with self._change() as (connection, generation):
            connection.execute(_sql("delete_custom_providers"), {"builtin": list(builtin_providers())})
        return generation

    def remove(self, provider_id: str) -> int:
        """Removes a custom provider and returns the new generation.

        Raises:
            UnknownNameError: there is none.
            ConflictError: it is built in; it can be disabled, not removed.
        """
        if provider_id in builtin_providers():
            raise ConflictError(f"{provider_id} is built in and cannot be removed")
        with self._change() as (connection, generation):
            if not self._row(connection, provider_id):
                raise UnknownNameError("provider", provider_id, tuple(sorted(_load(connection).entries)))
            connection.execute(_sql("delete_provider"), {"id": provider_id})
        return generation

    def apply(self, definitions: Mapping[str, Mapping[str, Any] | None], seen: int) -> int:
        """Makes several changes as one, and returns the new generation.

        Args:
            definitions: what to store, by provider id: all of a custom provider, the overrides of a built-in; None
                takes away what is stored. They have been validated.
            seen: the generation that they were computed from.

        Raises:
            ConflictError: the registry has changed since.
        """
        with self._change() as (connection, generation):
            if generation != seen + 1:
                raise ConflictError("the providers were changed meanwhile and nothing was done: run it again")
            for provider_id, definition in definitions.items():
                if definition is None:
                    connection.execute(_sql("delete_provider"), {"id": provider_id})
                else:
                    _write(connection, provider_id, dict(definition), generation)
        return generation

    def key_was_set(self, provider_id: str) -> int:
        """Has every process read a provider's key anew, and returns the new generation.

        Raises:
            UnknownNameError: there is no such provider.
        """
        with self._change() as (connection, generation):
            if provider_id not in builtin_providers() and not self._row(connection, provider_id):
                raise UnknownNameError("provider", provider_id, tuple(sorted(_load(connection).entries)))
            connection.execute(_sql("set_key_generation"), {"id": provider_id, "generation": generation})
        return generation

    def overtake(self) -> int | None:
        """Passes a generation in Redis that Postgres never reached, which happens after a restore from a backup.

        Every change is committed before it is published, so Redis, read first, cannot be ahead of Postgres unless
        Postgres went back in time. Then the copies held elsewhere show what is no more, and would go on to.

        Returns:
            the new generation, or None if nothing was wrong.
        """
        seen = self._cache.generation()
        rows = self._database.query(text_of("config", "sql/registry_generation.sql"))
        if not rows or (seen or 0) <= rows[0]["generation"]:
            return None
        with self._change() as (_, generation):
            return generation

    @contextmanager
    def _change(self) -> Iterator[tuple[Connection, int]]:
        seen = 0
        with suppress(ServiceUnavailableError):
            seen = self._cache.generation() or 0
        with self._database.transaction() as connection:
            row = connection.execute(_sql("next_generation"), {"seen": seen}).fetchone()
            if row is None:
                raise InvalidProviderError("the registry has lost its generation: run `ticketflow db migrate`")
            yield connection, int(row["generation"])
            snapshot = _load(connection)
        with suppress(ServiceUnavailableError):
            self._cache.publish(snapshot)

    def _check_url(self, provider: Provider) -> None:
        problem = self._egress.base_url_problem(provider.base_url)
        if problem:
            raise InvalidProviderError(f"provider {provider.id}: base_url: {problem}")  # the URL may hold a key

    @staticmethod
    def _row(connection: Connection, provider_id: str) -> dict[str, Any] | None:
        return connection.execute(_sql("select_provider"), {"id": provider_id}).fetchone()


def _sql(name: str) -> bytes:
    return text_of("config", f"sql/{name}.sql").encode()


def _write(connection: Connection, provider_id: str, definition: dict[str, Any], generation: int) -> None:
    connection.execute(
        _sql("upsert_provider"), {"id": provider_id, "definition": Jsonb(definition), "generation": generation}
    )


def _load(connection: Connection) -> Snapshot:
    rows = connection.execute(_sql("select_providers")).fetchall()
    generation = rows[0]["registry_generation"] if rows else 0
    stored = {row["id"]: row for row in rows if row["id"] is not None}
    definitions: dict[str, Any] = {
        key: {"definition": provider.model_dump(), "generation": 0} for key, provider in builtin_providers().items()
    }
    damaged: dict[str, str] = {}
    for key, row in stored.items():
        if not isinstance(row["definition"], dict):
            damaged[key] = "its definition is not an object"
            continue
        base = builtin_providers()[key].model_dump() if key in builtin_providers() else {"id": key}
        generations = {name: row[name] for name in ("generation", "key_generation")}
        definitions[key] = {"definition": overlaid(base, row["definition"]), **generations}
    return read_entries(generation, definitions, damaged)
