"""Texts that ship beside the code: SQL and Lua, one statement a file, named by the file."""

from functools import cache
from importlib.resources import files


@cache
def text_of(package: str, name: str) -> str:
    """The text of a file that ships with a package, such as ``text_of("jobs", "sql/claim.sql")``."""
    return files(package).joinpath(name).read_text(encoding="utf-8")
