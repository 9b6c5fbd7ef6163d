"""Who Postgres runs as: it refuses to run as root, which is what one is in most containers."""

import os
import pwd
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from config.errors import UsageError
from embedded.process import Identity

_ACCOUNTS = ("postgres", "nobody")  # initdb wants an account that has a name


def ordinary_identity(folder: Path, files: Sequence[Path]) -> Identity | None:
    """An ordinary user for a program if we are root; None if we are not, and it may run as ourselves.

    Args:
        folder: what the program will own; if somebody but root owns it already, that is the user.
        files: further files that it must read or run.
    """
    if os.geteuid() != 0:
        return None
    owner = folder.stat().st_uid if folder.exists() else 0
    account = pwd.getpwuid(owner) if owner else _account()
    open_to_it = _can_reach(account, folder) and all(
        _can_reach(account, file) and _allows(account, file, stat.S_IROTH | stat.S_IXOTH) for file in files
    )
    # A virtual environment below /root, or a temporary folder of mode 0700: rather than open those to everybody, or
    # copy 40 MB of programs, this one process may pass. Linux alone can do that.
    return Identity(account.pw_uid, account.pw_gid, any_path=not open_to_it and sys.platform == "linux")


def _account() -> pwd.struct_passwd:
    for name in _ACCOUNTS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise UsageError(f"Postgres does not run as root, and there is no account named {' or '.join(_ACCOUNTS)}")


def _can_reach(account: pwd.struct_passwd, path: Path) -> bool:
    """Whether a user without further groups can pass all folders above a path."""
    return all(_allows(account, folder, stat.S_IXOTH) for folder in path.resolve().parents)


def _allows(account: pwd.struct_passwd, path: Path, wanted: int) -> bool:
    """Whether the mode bits give a user the ``wanted`` rights, which are written as those of others."""
    found = path.stat()
    if found.st_uid == account.pw_uid:
        wanted <<= 6
    elif found.st_gid == account.pw_gid:
        wanted <<= 3
    return found.st_mode & wanted == wanted
