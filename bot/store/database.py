"""Opens the store and brings it up to date."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from bot.errors import OursError

MIGRATIONS = Path(__file__).with_name("migrations")
BUSY = 30_000  # milliseconds that a writer waits for another one


class StoreError(OursError):
    """The store cannot be opened or brought up to date."""


class Store:
    """An open store; ``session()`` is one transaction."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._engine = create_engine(url)
        except (SQLAlchemyError, ImportError) as error:
            raise StoreError(f"no database can be reached at {url}: {error}") from error
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _prepare)
            event.listen(self._engine, "begin", _begin)
        self._migrate()

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Yield a session that commits at the end, or leaves no trace when something raises."""
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Give all connections back."""
        self._engine.dispose()

    def _migrate(self) -> None:
        try:
            with self._engine.begin() as connection:
                command.upgrade(alembic_config(connection), "head")
        except (SQLAlchemyError, CommandError) as error:
            raise StoreError(
                f"the store {self.url} cannot be brought up to date: {error}"
            ) from error


def sqlite(path: Path) -> Store:
    """Open the store in a file; it is made when it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return Store(f"sqlite:///{path}")


def alembic_config(connection: object = None) -> Config:
    """Return what Alembic needs, without a file of its own."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return config


def _prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    """Set SQLite up: readers beside one writer, and references that are kept."""
    connection.isolation_level = None  # sqlite3 alone has it
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", f"busy_timeout={BUSY}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: object) -> None:
    """Take the write lock at once: a transaction that began to read may not be able to later."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")  # type: ignore[attr-defined]
