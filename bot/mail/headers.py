"""Header values of mails that nobody vouches for, as clean text, addresses, ids and dates.

Values are taken as they stand in the mail (``raw_items``): the standard library's structured
header parser raises on some of what real archives hold.
"""

from __future__ import annotations

import re
import sys
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.message import Message as Mail
from email.utils import getaddresses, parsedate_to_datetime
from functools import lru_cache

from liblore.utils import clean_header

# longest value that is looked at: the regular expressions behind are not all linear
LINE_LIMIT = 998  # RFC 5322, 2.1.1
LIST_LIMIT = 128 * 1024
IDS = 1000  # message-ids of one header that are kept
HOPS = 100  # servers that a mail came through, RFC 5321, 6.3
# control characters, lone surrogates, and what reorders text on a terminal
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]+")
_LESS = "\x01"  # for "<": with an address in it clean_header takes a text for an address list
_ID = re.compile(r"<([^<>]+)>")
NEVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, order=True)
class Address:
    """A mailbox; ``name`` is never empty, it falls back to the address."""

    name: str
    email: str

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>"


NOBODY = Address("unknown", "unknown@invalid")


def printable(text: str) -> str:
    """Return text on one line, without control characters."""
    return " ".join(_UNPRINTABLE.sub(" ", text).split())


def as_text(raw: bytes) -> str:
    """Decode undeclared bytes as git mailinfo guesses: UTF-8, else Latin-1."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def raw_values(mail: Mail, name: str, limit: int = LINE_LIMIT) -> tuple[str, ...]:
    """Return the undecoded values of every header of that name."""
    wanted = name.lower()
    named = [str(value)[:limit] for key, value in mail.raw_items() if key.lower() == wanted]
    return tuple(
        value if value.isascii() else as_text(value.encode("utf-8", "surrogateescape"))
        for value in named
    )


def decoded(value: str) -> str:
    """Decode RFC 2047 words; what cannot be decoded stays as it is."""
    try:
        return printable(clean_header(value.replace("<", _LESS)).replace(_LESS, "<"))
    except (HeaderParseError, ValueError, LookupError, TypeError):  # TypeError: liblore's slip
        return printable(value)


def text(mail: Mail, name: str) -> str:
    """Return the first header of that name as one clean line, or ``""``."""
    return next((decoded(value) for value in raw_values(mail, name)), "")


def parse_addresses(value: str) -> tuple[Address, ...]:
    """Return the mailboxes of an address list; broken ones are left out."""
    return _kept(value) if len(value) <= LINE_LIMIT else _mailboxes(value)


@lru_cache(1000)  # the mails of a series go to the same people
def _kept(value: str) -> tuple[Address, ...]:
    return _mailboxes(value)


def _mailboxes(value: str) -> tuple[Address, ...]:
    try:
        pairs = getaddresses([printable(value)])
    except (ValueError, IndexError, TypeError, RecursionError):
        return ()
    return tuple(_address(name, email) for name, email in pairs if "@" in email)


def _address(name: str, email: str) -> Address:
    mailbox = re.sub(r"[<>\s]", "", email)
    plain = re.sub(r"[<>]", "", decoded(name[:LINE_LIMIT])).strip(" \"'")
    return Address(plain or mailbox, mailbox)


def addresses(mail: Mail, name: str) -> tuple[Address, ...]:
    """Return the mailboxes of all headers of that name, in order, LIST_LIMIT in all."""
    found: list[Address] = []
    left = LIST_LIMIT
    for value in raw_values(mail, name, LIST_LIMIT):
        found += parse_addresses(value[:left])
        left -= len(value)
        if left <= 0:
            break
    return tuple(found)


def sender(mail: Mail) -> Address:
    """Return who sent the mail; X-Original-From wins over a From that a list rewrote."""
    for name in ("X-Original-From", "From"):
        for address in addresses(mail, name):
            return address
    return NOBODY


def size(value: str) -> int:
    """Return the bytes that a text has in a mail."""
    return len(value.encode("utf-8", "replace"))


def message_ids(mail: Mail, name: str) -> tuple[str, ...]:
    """Return the message-ids in a header, in order, without angle brackets.

    Of very many the last, which are the nearest ancestors; one that is too long, in bytes, is
    none.
    """
    values = raw_values(mail, name, sys.maxsize)
    found = (printable(one[1]) for value in values for one in _ID.finditer(value[-LIST_LIMIT:]))
    return tuple(deque((one for one in found if 0 < size(one) <= LINE_LIMIT), IDS))


def parse_date(value: str) -> datetime | None:
    """Return an RFC 5322 date with its time zone, or None when it is none."""
    try:
        when = parsedate_to_datetime(value)
        zoned = when if when.tzinfo else when.replace(tzinfo=UTC)
        zoned.astimezone(UTC)  # the first and the last day of time overflow
    except (ValueError, TypeError, IndexError, OverflowError, RecursionError):
        return None
    return zoned


def date(mail: Mail) -> datetime:
    """Return when the mail was written: Date, else the last Received, else 1970."""
    for value in raw_values(mail, "Date")[:1]:
        written = parse_date(value)
        if written:
            return written
    stamps = (value.rpartition(";")[2].strip() for value in raw_values(mail, "Received")[:HOPS])
    return max(filter(None, map(parse_date, stamps)), default=NEVER)
