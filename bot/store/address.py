"""Where the store is: the URL as SQLAlchemy takes it, and as people may read it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from bot.errors import OursError

SQLITE, POSTGRESQL = "sqlite", "postgresql+psycopg"
DRIVERS = {
    "sqlite": SQLITE, "sqlite+pysqlite": SQLITE, "postgres": POSTGRESQL, "postgresql": POSTGRESQL,
    POSTGRESQL: POSTGRESQL,
}  # fmt: skip
HIDDEN = "***"


class StoreError(OursError):
    """The store cannot be opened, used or brought up to date."""


@dataclass(frozen=True)
class Address:
    """Where the store is; ``str()`` and ``repr()`` have no password."""

    url: URL

    def __str__(self) -> str:
        query = {
            key: HIDDEN if "pass" in key.lower() else value for key, value in self.url.query.items()
        }
        return self.url.set(query=query).render_as_string(hide_password=True)

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file of this machine."""
        return self.url.drivername == SQLITE

    def hushed(self, text: object) -> str:
        """Return what a library said, on one line and without our secrets."""
        found = " ".join(str(text).split())
        query = (value for key, value in self.url.query.items() if "pass" in key.lower())
        for secret in (self.url.password, *query):
            if isinstance(secret, str) and secret:
                found = found.replace(secret, HIDDEN)
        return found


def parse(url: str, password: str = "") -> Address:
    """Return where a URL leads; ``password`` takes the place of the one in it.

    Raises StoreError, which never shows the URL: it may hold a password.
    """
    try:
        found = make_url(url)
        driver = DRIVERS.get(found.drivername)
    except (ArgumentError, ValueError):
        driver = None
    if driver is None:
        raise StoreError(
            "no database is known by the scheme of store_url: give sqlite:///FILE or "
            "postgresql://USER@HOST/NAME"
        )
    if password and driver == SQLITE:
        raise StoreError("store_password_file is set, but SQLite has no passwords: unset it")
    found = found.set(drivername=driver)
    return Address(found.set(password=password) if password else found)
