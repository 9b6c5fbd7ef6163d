"""The registry's truth in Postgres: overrides of built-ins and custom providers, under one generation."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from psycopg.types.json import Jsonb

from config.database import Connection, Database
from config.egress import EgressPolicy
from config.errors import ConflictError, InvalidProviderError, ServiceUnavailableError, UnknownNameError
from config.providers import Provider, builtin_providers
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

    @contextmanager
    def _change(self) -> Iterator[tuple[Connection, int]]:
        with self._database.transaction() as connection:
            row = connection.execute(_sql("next_generation")).fetchone()
            if row is None:
                raise InvalidProviderError("the registry has lost its generation: run `ticketflow db migrate`")
            yield connection, int(row["generation"])
            snapshot = _load(connection)
        with suppress(ServiceUnavailableError):
            self._cache.publish(snapshot)

    def _check_url(self, provider: Provider) -> None:
        problem = self._egress.base_url_problem(provider.base_url)
        if problem:
            raise InvalidProviderError(f"base URL {provider.base_url} of {provider.id}: {problem}")

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
        definitions[key] = {"definition": {**base, **row["definition"]}, "generation": row["generation"]}
    return read_entries(generation, definitions, damaged)
