"""Becomes another program that ends when the process that started it does; a script, run by ``embedded.process``.

A script and no ``preexec_fn``: that runs Python between fork and exec, which can deadlock if the parent has threads.
It takes one JSON object (``parent_pid``, ``death_signal``, and to give up root ``uid``, ``gid``, ``any_path``) and the
command. It imports the standard library alone, so that it costs some 20 ms.
"""

import ctypes
import json
import os
import sys
from typing import Any

PR_SET_PDEATHSIG, PR_SET_KEEPCAPS = 1, 8
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 47, 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522


def main() -> None:
    """Gives up what the command must not have, ties it to its parent, and becomes it."""
    how, command = json.loads(sys.argv[1]), sys.argv[2:]
    try:
        if "uid" in how:
            _become(how)
        if sys.platform == "linux":  # after the change of user: that clears the signal
            _prctl(PR_SET_PDEATHSIG, how["death_signal"])
        if os.getppid() == how["parent_pid"]:  # else it ended before the signal was asked for
            os.execv(command[0], command)  # noqa: S606 - no shell is what we want
    except OSError as error:
        sys.exit(f"{command[0]} cannot be run: {error}")


def _become(how: dict[str, Any]) -> None:
    """Turns root into an ordinary user, which keeps at most the right to pass folders that are closed to it."""
    if how["any_path"]:
        _prctl(PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setgid(how["gid"])
    os.setuid(how["uid"])
    if how["any_path"]:
        _keep_only(CAP_DAC_OVERRIDE)


def _keep_only(capability: int) -> None:
    """Drops all capabilities but one, and makes that one outlive the exec."""
    mask = 1 << capability
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(
        mask, mask, mask, 0, 0, 0
    )  # effective, permitted, inheritable; then their upper halves
    if _LIBC.capset(header, sets) != 0:
        _fail("capset")
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)


def _prctl(option: int, *arguments: int) -> None:
    padded = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    if _LIBC.prctl(option, *padded) != 0:
        _fail("prctl")


def _fail(call: str) -> None:
    number = ctypes.get_errno()
    raise OSError(number, f"{call}: {os.strerror(number)}")


if __name__ == "__main__":
    _LIBC = ctypes.CDLL(None, use_errno=True)
    main()
