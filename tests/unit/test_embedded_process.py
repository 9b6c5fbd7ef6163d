"""Child processes: their group ends with them, their log is private, nothing is started after the end."""

import os
import sys
import time
from pathlib import Path

import pytest

from config.errors import StartFailedError, UsageError
from embedded import process as process_module
from embedded.children import ChildProcesses
from embedded.local_server import free_ports, program_of, write_private
from embedded.process import ChildProcess, Command
from embedded.unprivileged import ordinary_identity
from tests.support.processes import is_running, needs_proc
from tests.support.waiting import wait_for

GRANDCHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600 if sys.argv[1] == "stay" else 0)
"""


def _python(folder: Path, code: str, *arguments: str, stdin: bytes = b"") -> Command:
    argv = (sys.executable, "-c", code, *arguments)
    return Command(argv, dict(os.environ), folder, folder / "logs" / "it.log", stdin=stdin)


def _end(process: ChildProcess) -> int | None:
    return process.wait(time.monotonic() + 20)


@needs_proc
@pytest.mark.parametrize("how", ["stay", "leave"])
def test_the_whole_group_ends(tmp_path: Path, how: str) -> None:
    children = ChildProcesses()
    process = children.spawn(_python(tmp_path, GRANDCHILD, how))
    wait_for(lambda: process.output().strip(), "grandchild")
    grandchild = int(process.output())
    if how == "stay":
        children.close()
    else:
        assert _end(process) == 0
    wait_for(lambda: not is_running(grandchild), "end of the grandchild")


def test_nothing_is_started_after_the_end(tmp_path: Path) -> None:
    children = ChildProcesses()
    children.close()
    with pytest.raises(StartFailedError, match="being stopped"):
        children.spawn(_python(tmp_path, ""))


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    process = ChildProcesses().spawn(Command(("/no/such/program",), {}, tmp_path, tmp_path / "log"))
    assert _end(process) == 1
    assert "/no/such/program cannot be run: " in str(process.failure("it", "it ended"))


def test_its_input_its_log_and_the_error_that_quotes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    children = ChildProcesses()
    for word in (b"first", b"second"):
        process = children.spawn(_python(tmp_path, "print('read', input())", stdin=word + b"\n"))
        assert _end(process) == 0
    assert process.output() == "read second\n"
    assert process.log.read_text() == "read first\nread second\n"
    assert process.log.stat().st_mode & 0o777 == 0o600
    error = process.failure("Server", "it ended with status 0")
    log = tmp_path / "logs" / "it.log"
    assert str(error) == f"Server did not start: it ended with status 0; log: {log}\n  read second"
    monkeypatch.setattr(process_module, "LOG_KEPT_BYTES", 10)
    _end(children.spawn(_python(tmp_path, "")))
    assert (log.read_text(), log.with_suffix(".1.log").read_text()) == ("", "read first\nread second\n")


def test_secrets_do_not_show(tmp_path: Path) -> None:
    command = Command(("a",), {"TOKEN": "s3cret"}, tmp_path, tmp_path, stdin=b"s3cret")
    assert "s3cret" not in repr(command)


def test_a_missing_extra_is_named() -> None:
    for package, pattern in (("no_such_package", "*"), ("embedded", "no-such-program")):
        with pytest.raises(UsageError, match=r"pip install 'ticketflow\[embedded\]'"):
            program_of(package, pattern)


def test_ports_differ() -> None:
    assert len(set(free_ports(20))) == 20


def test_a_private_file_is_private_and_replaced_as_a_whole(tmp_path: Path) -> None:
    for content in (b"long content", b"short"):
        write_private(tmp_path / "secret", content)
    assert (tmp_path / "secret").read_bytes() == b"short"
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert len(list(tmp_path.iterdir())) == 1


def test_who_postgres_runs_as(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "open" / "program"
    program.parent.mkdir(mode=0o755)
    program.touch(mode=0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert ordinary_identity(tmp_path / "new", [program]) is None
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for folder in (tmp_path, *tmp_path.parents):
        if not folder.stat().st_mode & 0o001:
            break
    else:
        pytest.fail("a temporary folder of pytest is closed to others")
    closed = ordinary_identity(tmp_path / "new", [program])
    assert closed is not None
    assert closed.uid != 0
    assert closed.any_path is (sys.platform == "linux")
    away = ordinary_identity(Path("/new"), [Path("/")])
    assert away is not None
    assert not away.any_path
