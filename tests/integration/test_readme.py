"""What the README shows works as it stands there: its program is run, its files and commands exist."""

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import Stack
from tests.support.llm_server import LLMServer
from tests.support.workers import ROOT, WorkerProcess, clean_environment

README = (ROOT / "README.md").read_text(encoding="utf-8")
SUMMARY = {
    "title": "t",
    "summary": "The login is broken.",
    "sentiment": "negative",
    "priority": "high",
    "action_items": [],
}


def test_the_program_of_the_readme_runs(stack: Stack, tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert sum(1 for line in program.splitlines() if line.strip()) <= 10
    environment = stack.operator_environment
    with LLMServer() as llm, WorkerProcess(stack.worker_environment, tmp_path / "worker.log"):
        llm.scenario([{"type": "reply", "text": json.dumps(SUMMARY)}])
        add = ("--name", "Readme", "--base-url", llm.groq_url, "--model", "llama-3.3-70b-versatile", "--type", "groq")
        added = subprocess.run(
            [
                sys.executable,
                "-m",
                "producer.commands",
                "providers",
                "add",
                *add,
                "--id",
                "custom-readme",
                "--no-check",
            ],
            env=clean_environment(environment),
            cwd=ROOT,
            check=False,
            capture_output=True,
        )
        assert added.returncode == 0, added.stderr
        done = subprocess.run(
            [sys.executable, "-c", program.replace('provider="groq"', 'provider="custom-readme"')],
            env=clean_environment(environment),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.stdout.strip() == "The login is broken.", done.stderr


def test_every_link_of_the_documents_leads_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name} links to {link}"


def failures() -> list[list[str]]:
    """The cells of docs/failures.md, row by row."""
    page = (ROOT / "docs" / "failures.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines[2:]]


def test_the_failure_table_has_no_blank() -> None:
    """What fails, what happens, how long, what counts it, which test: each row says all five."""
    rows = failures()
    assert len(rows) > 80
    assert [row for row in rows if len(row) != 5 or not all(row)] == []
    assert len({row[0] for row in rows}) == len(rows)


def test_every_test_named_in_the_failure_table_exists() -> None:
    for what, *_, tests in failures():
        named = re.findall(r"`((?:test_\w+|soak)\.py)(?:::(\w+))?`", tests)
        assert len(named) == len(tests.split(", ")) > 0, f"{what}: {tests}"
        for file, test in named:
            (path,) = (ROOT / "tests").rglob(file)
            definition = rf"def {test}\(" if test else "def test_"
            assert re.search(definition, path.read_text(encoding="utf-8")), f"{file}::{test}"


def test_the_kind_shown_in_the_howto_works() -> None:
    page = (ROOT / "docs" / "howto" / "add-a-job-kind.md").read_text(encoding="utf-8")
    (module,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, object] = {"__name__": "howto"}
    exec(compile(module, "howto", "exec"), names)
    request = names["KIND"].request_of('{"id": "1", "text": "Hallo", "language": "English"}')  # type: ignore[attr-defined]
    assert request.messages[1].text == "Hallo"
