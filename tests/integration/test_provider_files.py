"""Export and import through the real command: one change or none, nothing overwritten that nobody has seen."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from config.errors import ConflictError
from config.providers import parse_provider
from producer.producer import Producer
from tests.conftest import Stack
from tests.integration.test_command import Command
from tests.support.workers import ROOT, WorkerProcess, clean_environment

FILE = """
[groq]
default_model = "other"
[custom-a]
name = "A"
type = "openai-compatible"
base_url = "http://localhost:11434/v1/"
default_model = "llama"
models = [{ id = "llama", input_usd_per_million = 0.1 }]
[custom-a.limits]
requests_per_minute = 60
"""


@pytest.fixture
def ticketflow(stack: Stack, tmp_path: Path) -> Command:
    return Command(stack.operator_environment, tmp_path)


def test_from_a_file_and_back(stack: Stack, ticketflow: Command, tmp_path: Path) -> None:
    (tmp_path / "providers.toml").write_text(FILE)
    before = ticketflow("providers", "list", "--json").document["generation"]
    asked = ticketflow("providers", "import", "providers.toml")
    assert (asked.status, "--yes" in asked.err) == (2, True)
    assert "+ custom-a (add)" in asked.err
    assert "default_model: 'openai/gpt-oss-20b' → 'other'" in asked.err
    assert ticketflow("providers", "list", "--json").document["generation"] == before, "nothing without a yes"
    with WorkerProcess(stack.worker_environment, tmp_path / "worker.log"):
        done = ticketflow("providers", "import", "providers.toml", "--yes", "--json")
        assert (done.status, done.document["generation"]) == (0, before + 1), "two changes, one generation"
        assert (done.document["workers"]["current"], done.document["workers"]["behind"]) == (1, [])
    again = ticketflow("providers", "import", "providers.toml", "--yes", "--json")
    assert again.document == {"generation": before + 1, "changes": []}

    exported = ticketflow("providers", "export").out
    assert 'base_url = "http://localhost:11434/v1"\n' in exported
    assert ticketflow("providers", "export", "--output", "copy.toml").status == 0
    assert (tmp_path / "copy.toml").read_text() == exported
    assert "[groq]" not in ticketflow("providers", "export", "custom-a").out
    ticketflow("providers", "reset", "groq")
    ticketflow("providers", "remove", "custom-a")
    assert ticketflow("providers", "import", "-", "--yes", given=exported).status == 0
    assert ticketflow("providers", "export").out == exported
    pruned = ticketflow("providers", "import", "-", "--prune", "--yes", "--json").document
    assert [(c["id"], c["action"]) for c in pruned["changes"]] == [("custom-a", "remove"), ("groq", "reset")]
    assert "[" not in ticketflow("providers", "export").out.replace("[ID]", "")


def test_what_is_wrong_with_a_file_or_a_disk(ticketflow: Command, tmp_path: Path) -> None:
    wrong = ticketflow("providers", "import", "-", "--yes", given="[groq]\ntimeout_s = 0\n[x]\n")
    assert wrong.status == 2
    assert "groq: timeout_s" in wrong.err
    assert "x: name: Field required" in wrong.err
    assert ticketflow("providers", "import", "absent.toml", "--yes").status == 2
    assert ticketflow("providers", "export", "custom-nobody").status == 2
    assert ticketflow("providers", "export", "--output", "absent/copy.toml").status == 1
    (tmp_path / "old.toml").write_text("old")
    full = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50)); "
            "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
            "sys.argv[1:] = ['providers', 'export', '--output', 'old.toml']; "
            "from producer.commands import main; main()",
        ],
        env=clean_environment(ticketflow.environment) | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (full.returncode, "cannot be written" in full.stderr) == (1, True), full.stderr
    assert (tmp_path / "old.toml").read_text() == "old"
    assert os.listdir(tmp_path) == ["old.toml"], "no half-written file stays"


def test_what_changed_meanwhile_is_not_overwritten(stack: Stack) -> None:
    with Producer(stack.settings) as producer:
        seen = producer.providers.load().generation
        url = {"base_url": "http://localhost:1/v1", "default_model": "m", "type": "openai-compatible", "name": "N"}
        producer.providers.add(parse_provider({"id": "custom-n", **url}))
        with pytest.raises(ConflictError, match="run it again"):
            producer.providers.apply({"custom-n": None}, seen)
        assert "custom-n" in producer.providers.load().entries
        assert producer.providers.apply({"custom-n": None, "groq": {"default_model": "x"}}, seen + 1) == seen + 2
        assert json.loads(producer.providers.load().to_json())["entries"]["groq"]["definition"]["default_model"] == "x"
