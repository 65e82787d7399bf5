"""Which tables the store has, and how it gets those that this program knows.

Alembic takes 12 MB and a tenth of a second to import: it is where tables are to be altered.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Connection, Engine, inspect
from sqlalchemy.exc import SQLAlchemyError

from bot.store import engine as engines
from bot.store.address import Address, StoreError

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).with_name("migrations")
VERSION = "alembic_version"  # Alembic's own table


def alembic_config(connection: object = None) -> Config:
    """Return what Alembic needs, without a file of its own."""
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return config


def revisions() -> tuple[str, ...]:
    """Return the revisions that this program knows, the latest first: they are numbered."""
    files = (MIGRATIONS / "versions").glob("[0-9]*.py")
    return tuple(sorted((one.name.partition("_")[0] for one in files), reverse=True))


def revision(connection: Connection) -> str | None:
    """Return the revision of a store; None: there is none yet."""
    if not inspect(connection).has_table(VERSION):
        return None
    found = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION}").scalar()  # noqa: S608 - a constant
    return str(found) if found is not None else None


def migrate(engine: Engine, address: Address) -> None:
    """Bring a store up to date, one process at a time. Raises StoreError."""
    try:
        with engines.begun(engines.reader(engine)) as connection:
            _check_encoding(connection, address)
            there = checked(connection, address)
        if there != revisions()[0]:
            with altering(engine) as connection:
                if checked(connection, address) != revisions()[0]:  # nobody was faster
                    upgrade(connection)
    except SQLAlchemyError as error:
        raise StoreError(
            f"the store {address} cannot be brought up to date: {engines.cause(address, error)}"
        ) from error


def checked(connection: Connection, address: Address) -> str | None:
    """Return the revision of a store. Raises StoreError when this program is too old for it."""
    there = revision(connection)
    if there is not None and there not in revisions():
        raise StoreError(
            f"the store {address} was made by a newer stackhog: its schema is {there}, and this "
            f"one knows {revisions()[0]} at most; use the newer one"
        )
    return there


def upgrade(connection: Connection, to: str = "head") -> None:
    """Make the tables of a revision. Raises StoreError."""
    _alter("upgrade", connection, to)


def downgrade(connection: Connection, to: str) -> None:
    """Go back to the tables of a revision. Raises StoreError."""
    _alter("downgrade", connection, to)


def _alter(how: Literal["upgrade", "downgrade"], connection: Connection, to: str) -> None:
    from alembic import command  # noqa: PLC0415
    from alembic.util.exc import CommandError  # noqa: PLC0415

    try:
        getattr(command, how)(alembic_config(connection), to)
    except CommandError as error:
        raise StoreError(f"the store has no way to the tables of {to}: {error}") from error


@contextmanager
def altering(engine: Engine) -> Iterator[Connection]:
    """Yield a connection in a transaction that may alter tables.

    SQLite alters a table by making it anew, with references off; they are checked at the end.
    Those must be turned off before the transaction begins.
    """
    if engine.dialect.name != "sqlite":
        with engines.begun(engine) as connection:
            yield connection
        return
    with engine.connect() as connection:
        raw: Any = connection.connection.driver_connection
        raw.execute("PRAGMA foreign_keys=OFF")
        try:
            with connection.begin():
                yield connection
                _check_references(connection)
        finally:
            raw.execute("PRAGMA foreign_keys=ON")


def _check_references(connection: Connection) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if broken is not None:
        raise StoreError(f"a row of {broken[0]} would refer to none of {broken[2]}")


def _check_encoding(connection: Connection, address: Address) -> None:
    if connection.dialect.name == "sqlite":
        return
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
    if encoding != "UTF8":
        raise StoreError(
            f"the store {address} keeps text as {encoding}: make the database with "
            "ENCODING 'UTF8' TEMPLATE template0"
        )
