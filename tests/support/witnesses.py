"""Who watches a run from outside: all that Redis is told, and how every process was started."""

import os
import socket
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.support.processes import descendants

LOOK_S = 0.2


class RedisWitness:
    """Writes every command of every client to a file, published events included.

    Args:
        url: Redis' URL, with its password.
        file: what it is written to.
    """

    def __init__(self, url: str, file: Path) -> None:
        self._parts, self._file = urlsplit(url), file
        self._thread = threading.Thread(target=self._copy)

    def __enter__(self) -> Self:
        self._socket = socket.create_connection((self._parts.hostname, self._parts.port), timeout=10)
        self._socket.sendall(f"AUTH {self._parts.password}\r\nMONITOR\r\n".encode())
        with self._socket.makefile("rb") as answers:
            assert (answers.readline(), answers.readline()) == (b"+OK\r\n", b"+OK\r\n")
        self._socket.settimeout(None)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _copy(self) -> None:
        with self._file.open("wb") as out:
            while data := self._socket.recv(1 << 16):
                out.write(data)


class ProcessWitness:
    """Looks at the arguments and the environment of every process that descends from this one, five times a second.

    Args:
        file: what was seen is written here at the end.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen = set[bytes]()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._file.write_bytes(b"\n".join(self._seen))

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_S):
            for pid in descendants(os.getpid()) - {os.getpid()}:
                with suppress(OSError):  # it has ended
                    self._seen |= {Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")}
