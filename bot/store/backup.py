"""Copies of the whole store: made while the bot runs, restored into either database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Integer, MetaData, Table, func, inspect, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from bot.store import address as addresses
from bot.store import dump, outbox, schema
from bot.store import engine as engines
from bot.store.address import Address, StoreError
from bot.store.dump import BackupError, Head, Reader
from bot.store.outbox import State
from bot.store.tables import SwitchRow

AT_ONCE = 50  # rows that are in memory
OURS = "alembic_version"
MADE_BY_MIGRATION = "switches"  # its row is there from the beginning


@dataclass(frozen=True)
class Place:
    """Where a store is: its URL, and its password where that is in a file of its own."""

    url: str
    password: str = ""


@dataclass(frozen=True)
class Restored:
    """What a restore came to."""

    made: str  # when the backup was
    rows: int
    held: int  # mails that a person must look at


def save(place: Place, path: Path, program: str, now: datetime) -> int:
    """Write a store as it is at one moment to a file, while others use it; return the rows.

    Raises StoreError, BackupError where there is no store, OSError.
    """
    with _opened(place) as (engine, address), engines.begun(engines.reader(engine)) as connection:
        revision = schema.checked(connection, address)
        if revision is None:
            raise BackupError(f"there is no store at {address}: nothing was saved")
        with dump.writing(path, Head(revision, now.isoformat(), program)) as writer:
            for table in _tables(connection).sorted_tables:
                rows = select(table).order_by(*table.primary_key)
                found = connection.execute(rows, execution_options={"yield_per": AT_ONCE})
                writer.table(table, found)
    return writer.rows


def load(place: Place, path: Path, now: datetime, *, trust: bool = False) -> Restored:
    """Put a backup into a store that is empty, all of it or nothing.

    Mails that were under way, and answers to mails from before now, may have been sent since the
    backup was made: they wait for a person, unless ``trust`` says that nothing was.
    Raises BackupError, StoreError, OSError.
    """
    with dump.reading(path) as reader, _opened(place) as (engine, address):
        if reader.head.revision not in schema.revisions():
            raise BackupError(
                f"{path} was made by a newer stackhog: its schema is {reader.head.revision}, and "
                f"this one knows {schema.revisions()[0]} at most"
            )
        with schema.altering(engine) as connection:
            _clear(connection, address, reader.head.revision)
            _fill(connection, reader)
            schema.upgrade(connection)
            held = 0 if trust else _hold(connection, reader.head.made, now)
    return Restored(reader.head.made, reader.rows, held)


@contextmanager
def _opened(place: Place) -> Iterator[tuple[Engine, Address]]:
    """Yield the way to a store, whatever is there; it is not brought up to date."""
    address = addresses.parse(place.url, place.password)
    engine = engines.connect(address)
    try:
        with engines.told(address):
            yield engine, address
    except SQLAlchemyError as error:
        said = engines.cause(address, error)
        raise StoreError(f"the store {address} cannot be copied: {said}") from error
    finally:
        engine.dispose()


def _tables(connection: Connection) -> MetaData:
    """Return the tables that are there, as the database describes them."""
    found = MetaData()
    found.reflect(connection, only=lambda name, _: name != OURS)
    return found


def _clear(connection: Connection, address: Address, revision: str) -> None:
    """Make the tables of a revision, all empty. Raises BackupError unless none has rows yet."""
    there = schema.checked(connection, address)
    if there is None and set(inspect(connection).get_table_names()) - {OURS}:
        raise BackupError(f"{address} holds tables that are none of ours: name another store_url")
    for table in _tables(connection).sorted_tables:
        if table.name != MADE_BY_MIGRATION and connection.execute(select(table).limit(1)).first():
            raise BackupError(
                f"the store {address} is not empty ({table.name}): name an empty one in store_url, "
                "or move this one away"
            )
    if there is not None:
        schema.downgrade(connection, "base")
    schema.upgrade(connection, revision)
    for table in _tables(connection).sorted_tables:
        connection.execute(table.delete())


def _fill(connection: Connection, reader: Reader) -> None:
    """Put all rows of a backup into their tables. Raises BackupError."""
    tables = dict(_tables(connection).tables)
    for name, columns in reader.tables():
        table = tables.pop(name, None)
        if table is None or sorted(columns) != sorted(table.c.keys()):
            raise reader.damaged(f"its table {name[:40]} is not that of its schema")
        rows = reader.table([table.c[one] for one in columns])
        while some := list(islice(rows, AT_ONCE)):
            _put(connection, reader, table, some)
        _go_on(connection, table)
    if tables:
        raise reader.damaged(f"its table {min(tables)} is missing")


def _put(connection: Connection, reader: Reader, table: Table, rows: list[dict[str, Any]]) -> None:
    try:
        connection.execute(table.insert(), rows)
    except engines.OUR_BUGS as error:
        raise reader.damaged(f"a row of its table {table.name} fits nowhere") from error


def _go_on(connection: Connection, table: Table) -> None:
    """Let PostgreSQL number on after the last row; SQLite does by itself."""
    (key, *others) = table.primary_key
    if connection.dialect.name == "sqlite" or others or not isinstance(key.type, Integer):
        return
    counter = func.pg_get_serial_sequence(table.name, key.name)
    last = connection.execute(select(func.max(key))).scalar()
    if last is not None and connection.execute(select(counter)).scalar() is not None:
        connection.execute(select(func.setval(counter, last)))


def _hold(connection: Connection, made: str, now: datetime) -> int:
    """Let a person look at what may have been sent since the backup; return how much that is."""
    since = f"restored from a backup of {made[:16]}"
    states = (
        (State.WAITING, State.HELD, f"{since}: it may have been sent since"),
        (State.RESERVED, State.HELD, f"{since}: it was being sent"),
        (State.HANDED, State.UNCERTAIN, f"{since}: it was handed over then"),
    )
    count = 0
    with Session(connection, expire_on_commit=False) as session:
        for old, new, reason in states:
            for one in outbox.listed(session, [old]):
                count += outbox.move(
                    session, one.id, [old], new, reason, now, approved=None, claim=None
                )
        session.merge(SwitchRow(name=outbox.RESTORED, stopped=now, reason=since))
        session.flush()
    return count
