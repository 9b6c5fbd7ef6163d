"""Postgres connections, and the one place where its errors become ours."""

import logging
import selectors
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors as pg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from config.errors import ServiceUnavailableError, UsageError
from config.settings import address_of

CONNECT_TIMEOUT_S = 3
CHECKOUT_TIMEOUT_S = 4.0
STATEMENT_TIMEOUT_MS = 60_000
RANDOM_PAGE_COST = 1.1
"""What a page costs by an index, beside 1 in order: as for memory and flash. Postgres' default of 4 is for turning
disks, and has statements that name a few hundred jobs read a whole table of ten thousand."""

_PLANS_ONCE = " -c plan_cache_mode=force_generic_plan -c enable_seqscan=off"
"""A plan that is made once is made when there are no jobs: it would read all of the table, and go on to until Postgres
has looked at how large that has become (autovacuum, every minute)."""

IDLE_TIMEOUT_MS = 10_000
"""A process that is frozen within a transaction holds the locks of rows that all others need, such as a batch's."""

_REFUSED = (pg.IdleInTransactionSessionTimeout, pg.ReadOnlySqlTransaction)
"""Psycopg counts these among faults of the caller: frozen for too long, or connected to a standby after a failover."""

CHECK_AFTER_S = 30.0
"""A connection that nobody has used for longer is asked whether it still works: one that a firewall forgot, or whose
host is gone, looks alive from this side. PgBouncer's default, too."""


Connection = psycopg.Connection[DictRow]


class _Pooled(Connection):
    """One of the pool; ``lent_at`` is when it was lent last, by the monotonic clock."""

    lent_at = 0.0


_ALL_TAKEN = "all its connections are taken: raise its max_connections, or let fewer programs connect"


class Database:
    """A small pool of Postgres connections; made closed, opened by its first use, safe to use from any thread.

    A connection that Postgres has closed is not lent, so its restart costs a reconnection and no error. Threads take
    turns, in order: 200 at once are served by four connections. When Postgres stays away or no turn comes, a call fails
    within four seconds with ServiceUnavailableError; whether to wait and come again is for the caller to say.

    Args:
        url: ``postgresql://`` URL.
        application: what Postgres shows as the client's name.
        size: most connections at once.
        plans_once: a connection prepares and plans each statement at its first use, for programs that run the same few
            for ever. By default psycopg prepares the sixth use, and Postgres plans ten anew: 1 ms each for a claim or a
            settlement, three times what it then takes to run. Not for statements whose plan hangs on what is given.
    """

    def __init__(self, url: str, application: str, size: int = 4, *, plans_once: bool = False) -> None:
        self.address = address_of(url)
        # The pool logs each failed attempt with Postgres' own text; callers get one error in our words instead.
        logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
        self._url, self._size = url, size
        self._probing = threading.Lock()
        self._probe: Future[str | None] | None = None
        self._pool: ConnectionPool[_Pooled] = ConnectionPool(
            url,
            min_size=0,
            max_size=size,
            max_idle=300,
            timeout=CHECKOUT_TIMEOUT_S,
            reconnect_timeout=CHECKOUT_TIMEOUT_S,
            open=False,
            check=_check,
            name=application,
            kwargs={
                "autocommit": True,
                "row_factory": dict_row,
                "connect_timeout": CONNECT_TIMEOUT_S,
                "application_name": application,
                "options": f"-c statement_timeout={STATEMENT_TIMEOUT_MS} "
                f"-c idle_in_transaction_session_timeout={IDLE_TIMEOUT_MS} -c timezone=UTC "
                f"-c random_page_cost={RANDOM_PAGE_COST}{_PLANS_ONCE if plans_once else ''}",
                "prepare_threshold": 0 if plans_once else 5,
                "tcp_user_timeout": 10_000,
            },
            connection_class=_Pooled,
        )

    def __repr__(self) -> str:
        return f"Database({self.address})"

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection inside a transaction: committed at the end of the block, rolled back by an error.

        Raises:
            ServiceUnavailableError: Postgres is away, refuses, or has no tables of ours.
        """
        with self._translated(), self._lent() as connection, connection.transaction():
            yield connection

    @contextmanager
    def autocommit(self) -> Iterator[Connection]:
        """A connection on which each statement is a transaction of its own, and costs one round trip instead of three.

        Raises:
            ServiceUnavailableError: as ``transaction``.
        """
        with self._translated(), self._lent() as connection:
            yield connection

    @contextmanager
    def _lent(self) -> Iterator[Connection]:
        """A connection, which goes back to the pool."""
        self._open()
        connection = self._pool.getconn()
        try:
            yield connection
        finally:
            self._pool.putconn(connection)

    def query(self, sql: str, parameters: dict[str, Any] | None = None) -> list[DictRow]:
        """Runs one statement in a transaction of its own and returns its rows."""
        with self.autocommit() as connection:
            cursor = connection.execute(sql.encode(), parameters or {})
            # By the number of columns: to see whether there is a description is to have each of them described.
            return cursor.fetchall() if cursor.pgresult and cursor.pgresult.nfields else []

    def close(self) -> None:
        """Closes all connections; harmless when repeated."""
        self._pool.close(timeout=2)

    def _open(self) -> None:
        """With no connection at hand, tries one of its own first: that fails at once and says why, the pool waits.

        Threads that come meanwhile wait for that one and share what it found: each with a try of its own, a program's
        200 threads would take all of Postgres' connections at its start, and again after each outage.
        """
        self._pool.open()
        if self._pool.get_stats().get("pool_size"):
            return
        with self._probing:
            probe, first = self._probe, self._probe is None
            if probe is None:
                probe = self._probe = Future()
        if first:
            self._find_out(probe)
        reason = probe.result()
        if reason:
            raise self._away(reason)

    def _find_out(self, probe: "Future[str | None]") -> None:
        """Whatever ends this thread meanwhile, those who wait for it get an answer."""
        reason: str | None = "the connection failed"
        try:
            reason = self._trouble()
        finally:
            with self._probing:
                self._probe = None
            probe.set_result(reason)

    def _trouble(self) -> str | None:
        """Why no connection can be made; None if one can."""
        try:
            psycopg.connect(self._url, connect_timeout=CONNECT_TIMEOUT_S).close()
        except psycopg.Error as error:
            return _reason(error)
        return None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (pg.UndefinedTable, pg.UndefinedColumn):
            raise self._away("its tables are missing or old: run `ticketflow db migrate`") from None
        except PoolClosed:
            raise UsageError("this producer or worker is closed") from None
        except PoolTimeout:
            raise self._away(f"none of this process' {self._size} connections was free in time") from None
        except (psycopg.OperationalError, psycopg.InterfaceError, *_REFUSED) as error:
            raise self._away(_reason(error)) from None

    def _away(self, reason: str) -> ServiceUnavailableError:
        return ServiceUnavailableError("Postgres", self.address, reason)


def _check(connection: _Pooled) -> None:
    """Raises if a connection cannot be used any more, without a round trip where it was used a moment ago.

    What Postgres sends unasked to a connection that waits is its farewell, and then the end.
    """
    now, before = time.monotonic(), connection.lent_at
    connection.lent_at = now
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        if selector.select(0):
            connection.close()  # or the pool would take it for one that works
            raise psycopg.OperationalError("the connection was closed")
    if now - before > CHECK_AFTER_S:
        ConnectionPool.check_connection(connection)


def _reason(error: psycopg.Error) -> str:
    """The kind of trouble, by Postgres' own code; its texts can quote a statement's data, so they stay out."""
    if error.sqlstate:
        return f"{type(error).__name__} ({error.sqlstate})"
    text = str(error).lower()
    known = {
        "too many": _ALL_TAKEN,
        "slots are reserved": _ALL_TAKEN,
        "refused": "connection refused",
        "timeout": "no answer in time",
        "timed out": "no answer in time",
        "password": "the password was not accepted",
        "resolve": "no such host",
        "name or service": "no such host",
        "does not exist": "no such database or role",
        "closed": "the connection was cut",
    }
    return next((words for sign, words in known.items() if sign in text), "the connection failed")
