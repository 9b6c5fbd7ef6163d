"""A test's own database, a copy of the migrated one."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors, sql

_END_OURS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = current_user"


@contextmanager
def copied_database(url: str, name: str) -> Iterator[str]:
    """A copy of the database at ``url`` under another name, until the block ends; its URL.

    Whoever is connected at the end is cut off.
    """
    place, template = url.rsplit("/", 1)
    new = sql.Identifier(name)
    with psycopg.connect(url, autocommit=True, dbname="postgres") as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(new, sql.Identifier(template)))
    try:
        yield f"{place}/{name}"
    finally:
        with psycopg.connect(url, autocommit=True, dbname="postgres") as admin:
            try:
                admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(new))
            except errors.InsufficientPrivilege:  # an autovacuum, which only a drop without force sends away
                admin.execute(_END_OURS, (name,))
                admin.execute(sql.SQL("DROP DATABASE {}").format(new))
