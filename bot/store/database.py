"""Opens the store and brings it up to date."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.orm import Session, SessionTransaction

from bot.store import address as addresses
from bot.store import engine as engines
from bot.store import schema
from bot.store.address import StoreError as StoreError  # noqa: PLC0414 - callers know it from here


class Store:
    """An open store; ``session()`` is one transaction, alone in the store.

    Whatever the database does (it restarts, it is full, a link is cut) comes as StoreError, and
    a later call works again. Whether the transaction that met it was committed is not known.
    """

    def __init__(self, url: str, password: str = "") -> None:
        """Open it; raises StoreError."""
        self.url = url  # may hold a password: str(address) does not
        self.address = addresses.parse(url, password)
        self._engine = engines.connect(self.address)
        schema.migrate(self._engine, self.address)

    def session(self) -> AbstractContextManager[Session]:
        """Return a session that commits at the end, or leaves no trace when something raises.

        Raises StoreError.
        """
        return self._transaction(self._engine)

    def reading(self) -> AbstractContextManager[Session]:
        """Return a session that sees the store as it is now, and waits for no writer.

        Raises StoreError.
        """
        return self._transaction(engines.reader(self._engine))

    def close(self) -> None:
        """Give all connections back."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Session]:
        with engines.told(self.address):
            session, transaction = _begun(engine)
            with session, transaction:
                yield session


def _begun(engine: Engine) -> tuple[Session, SessionTransaction]:
    """Return a session whose transaction has begun in the database."""
    for attempt in engines.waiting():
        with attempt:
            session = Session(engine, expire_on_commit=False)
            transaction = session.begin()
            try:
                session.connection()
            except BaseException:
                session.close()
                raise
    return session, transaction


def sqlite(path: Path) -> Store:
    """Open the store in a file; it is made when it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return Store(f"sqlite:///{path}")
