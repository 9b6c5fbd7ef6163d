"""Looking at processes from outside."""

import os
import signal
import sys
from pathlib import Path

import pytest

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
INTERRUPTED = (130, -signal.SIGINT)
"""How a command that was interrupted ends, both 130 to a shell: under ``python -m``, Python ends itself by the signal
if that came while ``exec`` ran some text, as it does wherever a dataclass is made."""


def processes_in(folder: Path) -> dict[int, str]:
    """Command lines of all processes whose current folder is in ``folder``, by process id."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if Path(os.readlink(entry / "cwd")).is_relative_to(folder.resolve()):
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it ended, or is not ours
            continue
    return found


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def descendants(pid: int) -> set[int]:
    """A process and all that it and its children have started, as far as they still run."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
    family = {pid}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return family
