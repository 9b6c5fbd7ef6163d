"""The demo and ``ticketflow up`` as a newcomer meets them: they work, and leave nothing behind, whatever ends them."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from config.settings import load_settings
from tests.support.processes import INTERRUPTED, descendants, is_running
from tests.support.waiting import wait_for
from tests.support.workers import ROOT, clean_environment

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@contextmanager
def ticketflow(*arguments: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A running command in a folder of its own; its temporary files go there too."""
    log = (folder / "stderr.log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "producer.commands", *arguments],
        env=clean_environment({}) | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        start_new_session=True,
    )
    log.close()
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_the_demo_summarises_every_sample_ticket_and_leaves_nothing(tmp_path: Path) -> None:
    with ticketflow("demo", "--json", folder=tmp_path) as demo:
        out, _ = demo.communicate(timeout=100)
    said = (tmp_path / "stderr.log").read_text()
    assert demo.returncode == 0, said
    outcome = json.loads(out)
    assert (outcome["jobs"], outcome["failed"]) == (200, 0)
    assert outcome["input_tokens"] > 10_000
    assert "$ ticketflow providers set-key" in said
    assert "200/200 done, 0 failed" in said
    assert [path.name for path in tmp_path.iterdir()] == ["stderr.log"]


@pytest.mark.parametrize("sign", ["logs:", "worker 1", "providers add", "batch submit", "/200 done"])
def test_the_demo_may_be_broken_off_at_any_moment(tmp_path: Path, sign: str) -> None:
    with ticketflow("demo", folder=tmp_path) as demo:
        wait_for(lambda: sign in (tmp_path / "stderr.log").read_text(), sign, 60)
        family = descendants(demo.pid)
        os.killpg(demo.pid, signal.SIGINT)  # as a terminal does
        assert demo.wait(30) in (*INTERRUPTED, 0), (tmp_path / "stderr.log").read_text()
    wait_for(lambda: not [pid for pid in family if is_running(pid)], "end of all processes", 10)
    assert "Traceback" not in (tmp_path / "stderr.log").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["stderr.log"]


def test_up_serves_commands_of_its_folder_restarts_what_dies_and_stops_in_order(tmp_path: Path) -> None:
    with ticketflow("up", "--workers", "2", folder=tmp_path) as up:
        assert up.stdout is not None
        shown: list[str] = []
        while not shown or shown[-1] != "ready\n":
            line = up.stdout.readline()
            assert line, (tmp_path / "stderr.log").read_text()
            shown.append(line)
        assert (tmp_path / ".ticketflow" / "stack.env").stat().st_mode & 0o777 == 0o600

        def command(*arguments: str) -> subprocess.CompletedProcess[str]:
            run = [sys.executable, "-m", "producer.commands", *arguments]
            environment = clean_environment({}) | {"PYTHONPATH": str(ROOT)}
            return subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

        workers = json.loads(command("workers", "--json").stdout)
        assert len(workers) == 2
        assert command("doctor").returncode == 0
        second = command("up")
        assert second.returncode == 2
        assert str(up.pid) in second.stderr
        _flower_shows_tasks_with_ids_only(shown, command)
        os.kill(workers[0]["pid"], signal.SIGKILL)
        wait_for(lambda: _others(command, workers[0]["pid"]) == 2, "new worker", 40)
        family = descendants(up.pid)
        up.send_signal(signal.SIGTERM)
        assert up.wait(40) == 0
    wait_for(lambda: not [pid for pid in family if is_running(pid)], "end of all processes", 10)
    assert not (tmp_path / ".ticketflow" / "stack.env").exists()
    assert load_settings(tmp_path).vault_url is None, "nothing is left that commands could take for a running stack"


def _others(command: Command, dead_pid: int) -> int:
    workers = json.loads(command("workers", "--json").stdout)
    return len([worker for worker in workers if worker["pid"] != dead_pid])


def _flower_shows_tasks_with_ids_only(shown: list[str], command: Command) -> None:
    """A job passes; Flower's table of tasks holds its id, and no word of its text."""
    (url,) = re.findall(r"http://127\.0\.0\.1:\d+(?=\n)", "".join(line for line in shown if line.startswith("flower")))
    (Path.cwd() / "input.json").write_text('{"prompt": "SECRETWORD"}')
    path = str(Path.cwd() / "input.json")
    done = command("enqueue", "complete", "--provider", "groq", "--input", path, "--wait", "20", "--json")
    job_id = json.loads(done.stdout)["job_id"]

    def task() -> str:
        query = "draw=1&start=0&length=10&order[0][column]=0&columns[0][data]=name"
        with urllib.request.urlopen(f"{url}/tasks/datatable?{query}", timeout=5) as answer:
            return json.dumps([row for row in json.load(answer)["data"] if row["state"] == "SUCCESS"])

    wait_for(lambda: "ticketflow.run_jobs" in task(), "task in Flower", 20)
    assert job_id in task()
    assert "SECRETWORD" not in task()
