"""Connections to either database, set up so that a transaction means the same on both.

A transaction that may write is alone from its first statement to its commit, and sees what all
before it left: SQLite has ``BEGIN IMMEDIATE`` for that, PostgreSQL a lock of ours that every
such transaction takes first. So what is looked up may be acted upon, and there are no deadlocks,
no serialization failures and no races for a unique key. Readers see a snapshot, and wait for
nobody. docs/decisions/0025-two-databases.md says what it costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    TimeoutError,  # noqa: A004 - SQLAlchemy's own
)
from sqlalchemy.pool import ConnectionPoolEntry
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential, wait_fixed

from bot.store.address import Address, StoreError

BUSY = 30_000  # milliseconds that a writer waits for another one
STALLED = 120_000  # milliseconds that a transaction may do nothing until the server ends it
PATIENCE = 5.0  # seconds in which a server may come back before a transaction begins
LOCK = 0x737461636B  # "stack": the lock of all writers
READS = "stackhog_reads"
# what a mistake of ours in SQL, or in values, looks like: it must be seen as one
OUR_BUGS = (IntegrityError, ProgrammingError, DataError, NotSupportedError)
PASSING = {None, "57P01", "57P02", "57P03", "53300"}  # no server, it stops or starts, it is full
# a peer that was cut off is noticed within 30 seconds, from both ends
CLIENT = {
    "connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
    "tcp_user_timeout": 25_000, "client_encoding": "utf8", "application_name": "stackhog",
}  # fmt: skip
SERVER = {
    "tcp_keepalives_idle": 10, "tcp_keepalives_interval": 5, "tcp_keepalives_count": 3,
    "tcp_user_timeout": 25_000, "lock_timeout": BUSY,
    "idle_in_transaction_session_timeout": STALLED,
}  # fmt: skip


def connect(address: Address) -> Engine:
    """Return what opens connections; none is opened yet. Raises StoreError."""
    options: dict[str, Any] = {"hide_parameters": True}  # they hold mail
    if not address.is_sqlite:
        given = {key: value for key, value in CLIENT.items() if key not in address.url.query}
        options |= {"pool_pre_ping": True, "connect_args": given}
    try:
        engine = create_engine(address.url, **options)
    except ImportError as error:
        raise StoreError(f"no database can be reached at {address}: {error}") from error
    event.listen(engine, "connect", _prepare_file if address.is_sqlite else _prepare_server)
    event.listen(engine, "begin", _begin_file if address.is_sqlite else _begin_server)
    return engine


def reader(engine: Engine) -> Engine:
    """Return what opens snapshots: the same connections, for transactions that only read."""
    options: dict[str, Any] = {READS: True}
    if engine.dialect.name != "sqlite":
        options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    return engine.execution_options(**options)


def waiting() -> Retrying:
    """Return what tries to begin a transaction anew while a server restarts.

    Nothing was done yet, so nothing can be done twice.
    """
    return Retrying(
        retry=retry_if_exception(_passes), stop=stop_after_delay(PATIENCE), reraise=True,
        wait=wait_exponential(0.05, max=1),
    )  # fmt: skip


@contextmanager
def begun(engine: Engine) -> Iterator[Connection]:
    """Yield a connection in a transaction that commits at the end."""
    for attempt in waiting():
        with attempt:
            connection = engine.connect()
            try:
                transaction = connection.begin()
            except BaseException:
                connection.close()
                raise
    with connection, transaction:
        yield connection


@contextmanager
def told(address: Address) -> Iterator[None]:
    """Turn what a database says when it is away, full or broken into a StoreError."""
    try:
        yield
    except (DBAPIError, TimeoutError) as error:
        if isinstance(error, OUR_BUGS):
            raise
        raise StoreError(
            f"the store {address} cannot be used now ({cause(address, error)}): see that its "
            "database is up and its disk has room"
        ) from error


def cause(address: Address, error: Exception) -> str:
    """Return what a database said, as half a sentence."""
    said = error.orig if isinstance(error, DBAPIError) else error
    return address.hushed(said)[:300].rstrip(".")


def _passes(error: BaseException) -> bool:
    return isinstance(error, OperationalError) and getattr(error.orig, "sqlstate", "no") in PASSING


def _is_busy(error: BaseException) -> bool:
    return getattr(error, "sqlite_errorname", "") == "SQLITE_BUSY"


def _prepare_file(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    """Set SQLite up: readers beside one writer, and references that are kept."""
    connection.isolation_level = None  # sqlite3 alone has it
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={BUSY}", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    for attempt in Retrying(
        retry=retry_if_exception(_is_busy), stop=stop_after_delay(BUSY / 1000), reraise=True,
        wait=wait_fixed(0.01),
    ):  # fmt: skip
        with attempt:  # the one thing for which SQLite itself does not wait
            cursor.execute("PRAGMA journal_mode=WAL")
    cursor.close()


def _prepare_server(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    """Set PostgreSQL up: nobody who is gone or stalled keeps the others waiting."""
    cursor = connection.cursor()
    for name, value in SERVER.items():
        cursor.execute(f"SET {name} = {value}")
    cursor.close()
    connection.commit()


def _begin_file(connection: Connection) -> None:
    """Take the write lock at once: a transaction that began to read may not be able to later."""
    reads = READS in connection.get_execution_options()
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _begin_server(connection: Connection) -> None:
    """Wait until no other writer is in a transaction; the lock goes with the transaction."""
    if READS not in connection.get_execution_options():
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
