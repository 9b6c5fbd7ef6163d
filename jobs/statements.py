"""Where the ledger's SQL is: one statement a file."""

from config.resources import text_of


def statement(name: str) -> str:
    """A statement of the ledger, by the name of its file."""
    return text_of("jobs", f"sql/{name}.sql")
