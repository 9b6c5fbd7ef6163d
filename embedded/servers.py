"""Valkey, Postgres and OpenBao together, in one folder, from Python wheels alone."""

import atexit
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from types import TracebackType

from config.errors import ConflictError
from embedded.children import ChildProcesses
from embedded.local_server import LocalServer
from embedded.openbao_server import OpenBaoServer
from embedded.postgres_server import PostgresServer
from embedded.valkey_server import ValkeyServer

STOP_S = 10.0


class EmbeddedServers:
    """The three servers that the system needs, on free ports of 127.0.0.1, started and stopped as one.

    None of them outlives us: not a stop, not a start that fails or is broken off, and on Linux not a SIGKILL.

    Args:
        folder: where they keep files and logs; made if missing. Secrets in it are readable by us alone.
        persistent: whether keys, rows and messages survive a stop; if not, ``stop`` removes all that they wrote.
    """

    def __init__(self, folder: Path, persistent: bool) -> None:
        self.folder = folder.resolve()
        self.persistent = persistent
        self._new()

    def _new(self) -> None:
        self._children = ChildProcesses()
        self._valkey = ValkeyServer(self.folder, self.persistent, self._children)
        self._postgres = PostgresServer(self.folder, self.persistent, self._children)
        self._openbao = OpenBaoServer(self.folder, self.persistent, self._children)
        self.members: tuple[LocalServer, ...] = (self._valkey, self._postgres, self._openbao)
        self._started = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.folder)!r}, persistent={self.persistent})"

    def __enter__(self) -> "EmbeddedServers":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def redis_url(self) -> str:
        """Valkey, with its password."""
        return self._valkey.url

    @property
    def database_url(self) -> str:
        """Postgres, with its password."""
        return self._postgres.url

    @property
    def vault_url(self) -> str:
        """OpenBao."""
        return self._openbao.url

    @property
    def operator_environment(self) -> dict[str, str]:
        """The settings of whoever manages providers and keys, and enqueues work."""
        return self._addresses | {"TICKETFLOW_VAULT_TOKEN": self._openbao.credentials.operator_token}

    @property
    def worker_environment(self) -> dict[str, str]:
        """The settings of a worker, which may read keys and nothing else of Vault."""
        credentials = self._openbao.credentials
        return self._addresses | {
            "TICKETFLOW_VAULT_ROLE_ID": credentials.role_id,
            "TICKETFLOW_VAULT_SECRET_ID": credentials.secret_id,
        }

    @property
    def _addresses(self) -> dict[str, str]:
        return {
            "TICKETFLOW_REDIS_URL": self.redis_url,
            "TICKETFLOW_DATABASE_URL": self.database_url,
            "TICKETFLOW_VAULT_URL": self.vault_url,
        }

    def start(self) -> None:
        """Starts all three at once and returns when all serve; if one fails, the others are stopped again.

        Raises:
            StartFailedError: a server did not start; says which, and quotes its log.
            ConflictError: servers that are to be removed again would meet files that are there already.
            UsageError: the ``embedded`` extra is not installed.
        """
        self._make_folder()
        self._started = True
        atexit.register(self.stop)  # for an interrupt in the moment between two statements of our caller
        starts = ThreadPoolExecutor(len(self.members), thread_name_prefix="embedded-start")
        try:
            for done in as_completed([starts.submit(member.start) for member in self.members]):
                done.result()
            starts.shutdown()
        except BaseException:
            self._children.refuse()
            self._end_processes()  # which ends the waiting of the threads, too
            starts.shutdown()
            self.stop()
            raise

    def stop(self) -> None:
        """Stops all within some ten seconds and removes what is not persistent; a second time it does nothing."""
        if not self._started:
            return
        self._end_processes()
        if not self.persistent:
            self._remove_files()
        atexit.unregister(self.stop)
        self._new()

    def _make_folder(self) -> None:
        self.folder.mkdir(mode=0o711, parents=True, exist_ok=True)  # Postgres may run as another user: it must pass
        if not self.persistent and any(member.folder.exists() for member in self.members):
            raise ConflictError(f"{self.folder} holds data of other servers: temporary ones need a folder of their own")

    def _end_processes(self) -> None:
        deadline = time.monotonic() + STOP_S
        try:
            for member in self.members:
                member.ask_to_stop()
            for member in self.members:
                member.wait_stopped(deadline)
        finally:
            self._children.close()

    def _remove_files(self) -> None:
        for member in self.members:
            member.remove_files()
        with contextlib.suppress(OSError):  # the caller may keep files of its own there
            (self.folder / "logs").rmdir()
            self.folder.rmdir()
