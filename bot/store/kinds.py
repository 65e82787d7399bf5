"""Column types that both databases take, whatever mail brings: bad values are mended here alone.

PostgreSQL refuses NUL and lone surrogates in text, text that is longer than its column, integers
of more than 32 bits, and index entries above 2,704 bytes; SQLite takes most of that, but neither
what is no UTF-8 nor integers of more than 64 bits. Values are mended on their way in, those that
are only compared too, so that what was stored is found again.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import DateTime, Integer, String, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

ID_BYTES = 998  # of a Message-ID: RFC 5322, 2.1.1; below what an index takes
MOST = 2**31 - 1
_UNFIT = re.compile("[\x00\ud800-\udfff]")
_STAND_IN = "\N{REPLACEMENT CHARACTER}"


def moved(when: datetime, by: timedelta) -> datetime:
    """Return a time so much later or earlier; mail may be of the last day that there is."""
    try:
        return when + by
    except OverflowError:
        later = by > timedelta()
        return datetime.max.replace(tzinfo=UTC) if later else datetime.min.replace(tzinfo=UTC)


class Moment(TypeDecorator[datetime]):
    """A time with its zone; databases that know no zones keep UTC."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Store UTC."""
        return value.astimezone(UTC).replace(tzinfo=None) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - the same
        """Return it with its zone."""
        return value.replace(tzinfo=UTC) if value else None


class Words(TypeDecorator[str]):
    """Text of so many characters at most; what is longer is cut."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - the same
        """Replace what is no text, and cut."""
        if value is None:
            return None
        return _UNFIT.sub(_STAND_IN, value)[: getattr(self.impl_instance, "length", None)]


class Prose(Words):
    """Text of any length."""

    impl = Text
    cache_ok = True


class MessageId(Words):
    """A Message-ID, which an index holds: cut to ID_BYTES bytes as well."""

    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - the same
        """Replace what is no text, and cut."""
        return value if value is None else message_id(value)


class Number(TypeDecorator[int]):
    """An integer of 32 bits; what is beyond them becomes the last one within."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:  # noqa: ARG002 - the same
        """Bring a number within its bounds."""
        return value if value is None else _bounded(value)


def message_id(value: str) -> str:
    """Return a Message-ID as it is stored."""
    return _cut(prose(value)[:ID_BYTES])


def prose(value: str) -> str:
    """Return text as it is stored."""
    return _UNFIT.sub(_STAND_IN, value)


def fitting(value: object, kind: TypeEngine[Any]) -> object:
    """Return a value as a column of a plain kind takes it: what was stored before these types."""
    if isinstance(value, str):
        length = getattr(kind, "length", None)
        mended = _UNFIT.sub(_STAND_IN, value)[:length]
        return _cut(mended) if length == ID_BYTES else mended
    return _bounded(value) if type(value) is int else value


def _cut(value: str) -> str:
    return value.encode()[:ID_BYTES].decode("utf-8", "ignore")


def _bounded(value: int) -> int:
    return max(-MOST, min(MOST, int(value)))
