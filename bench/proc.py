"""What Linux says about processes: their children, CPU time, memory, whether they are stopped."""

import os
from collections.abc import Iterable
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
MB = 1024 * 1024


def _stat(pid: int) -> list[str]:
    """The fields of ``/proc/<pid>/stat`` after the name, from the state on."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def family(roots: Iterable[int]) -> set[int]:
    """Processes with all that they and their children have started, as far as they still run."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(_stat(int(entry.name))[1])
            except OSError:
                continue
    found = {pid for pid in roots if pid in parents}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def name_of(pid: int) -> str:
    """The name of a process, as Linux keeps it; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def cpu_s(pid: int) -> float:
    """CPU time that a process has used, user and system; 0 if it is gone."""
    try:
        fields = _stat(pid)
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def pss_bytes(pid: int) -> int:
    """Memory of a process, what it shares counted in parts; 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def is_stopped(pid: int) -> bool:
    """Whether a process stands still by a SIGSTOP."""
    return _stat(pid)[0] == "T"
