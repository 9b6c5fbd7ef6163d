"""Imports point one way, and what other programs import stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("config", "jobs", "producer", "worker", "embedded", "deploy", "tests", "bench")
MAY_IMPORT = {
    "config": {"config"},
    "jobs": {"jobs", "config"},
    "producer": {"producer", "jobs", "config"},
    "worker": {"worker", "jobs", "config"},
    "embedded": {"embedded", "config"},
    "deploy": {"deploy", "embedded", "config"},
}


def _imports(path: Path) -> set[str]:
    names = set[str]()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add((node.module or "").split(".")[0])
    return names & set(OURS)


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_point_one_way(folder: str) -> None:
    files = list((ROOT / folder).rglob("*.py"))
    assert files
    for path in files:
        allowed = set(MAY_IMPORT[folder])
        if path.is_relative_to(ROOT / "producer" / "commands"):
            allowed.add("embedded")  # the command starts the servers in a box; the library does not
        assert _imports(path) <= allowed, path


def test_no_module_is_named_like_a_library() -> None:
    libraries = {"redis", "celery", "openai", "groq", "hvac", "pydantic", "aiohttp", "psycopg", "alembic", "typer"}
    named = {path.stem for folder in MAY_IMPORT for path in (ROOT / folder).rglob("*.py")}
    assert not named & libraries


def _loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def test_importing_the_producer_loads_nothing_heavy() -> None:
    heavy = {
        "openai",
        "groq",
        "google.genai",
        "google.generativeai",
        "hvac",
        "aiohttp",
        "httpx",
        "celery",
        "kombu",
        "alembic",
        "sqlalchemy",
        "rich",
    }
    assert not _loaded_by("from producer import Producer; Producer.from_env().close()") & heavy


def test_what_a_producer_needs_is_loaded_when_one_is_made() -> None:
    """A program that has it among its imports and enqueues nothing does not wait for drivers and models."""
    assert not _loaded_by("from producer import Producer") & {"psycopg", "redis", "pydantic"}


@pytest.mark.parametrize("before", ["enable", "disable"])
def test_loading_a_producer_leaves_the_collector_as_it_was(before: str) -> None:
    loading = "from producer import Producer; Producer.from_env().close()"
    code = f"import gc; gc.{before}(); {loading}; print(gc.isenabled())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == [str(before == "enable")]
