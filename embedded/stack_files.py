"""The two files by which the outside knows a running stack: its lock, and ``stack.env`` with the way in."""

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path

from config.errors import ConflictError
from embedded.local_server import write_private


class FolderLock:
    """Lets one stack at a time use a folder.

    The system gives the lock back when its holder ends, however it ends: the file that stays behind locks nothing.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "stack.lock"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Takes the lock.

        Raises:
            ConflictError: a stack is running; says which process holds it.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode().strip() or "unknown"
            os.close(descriptor)
            raise ConflictError(f"a stack is running in {self._path.parent} already (process {holder})") from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor

    def release(self, remove: bool) -> None:
        """Gives the lock back; ``remove`` takes the file away as well, for a folder that nobody else can want."""
        if self._descriptor is not None:
            if remove:
                self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None


def write_stack_env(path: Path, values: Mapping[str, str]) -> None:
    """Writes settings for commands, for our eyes only; no value needs quoting."""
    write_private(path, "".join(f"{name}={value}\n" for name, value in values.items()).encode())
