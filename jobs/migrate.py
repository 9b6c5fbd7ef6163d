"""Brings the ledger's tables up to date; several processes may try at once, one does it."""

import re
from importlib.resources import files

import psycopg
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from config.database import CONNECT_TIMEOUT_S, Database
from config.errors import ServiceUnavailableError
from config.settings import address_of

_LOCK = 0x7469636B6574  # "ticket": an advisory lock that makes concurrent migrations take turns


def migrate(database_url: str) -> str:
    """Applies what is missing and returns the revision reached.

    Raises:
        ServiceUnavailableError: Postgres is away or refuses.
    """
    from alembic import command  # 0.1 s of import, needed here alone
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "jobs:migrations")
    url = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", database_url)
    engine = create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": CONNECT_TIMEOUT_S})
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except (DBAPIError, psycopg.Error) as error:
        cause = getattr(error, "orig", None) or error
        Database(database_url, "ticketflow-migrate").query("SELECT 1")  # away altogether: says why, in words
        raise ServiceUnavailableError("Postgres", address_of(database_url), type(cause).__name__) from None
    return newest_revision()


def newest_revision() -> str:
    """The revision that this version of the code needs, by the names of its migration files."""
    names = (entry.name for entry in files("jobs").joinpath("migrations/versions").iterdir())
    return max(name.split("_")[0] for name in names if re.match(r"\d{4}_", name))


def applied_revision(database: Database) -> str | None:
    """The revision that Postgres is at; None before the first migration."""
    if not database.query("SELECT to_regclass('alembic_version') AS found")[0]["found"]:
        return None
    rows = database.query("SELECT version_num FROM alembic_version")
    return str(rows[0]["version_num"]) if rows else None
