"""Mails that came in: each Message-ID once, bytes where they are still needed."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from bot.store.kinds import moved
from bot.store.tables import MailRow, ReferenceRow

REFERENCES = 100  # the nearest ancestors that are kept
AT_ONCE = 200  # mails that assembly takes up in one go
NEEDED = frozenset({"patch", "letter"})  # kinds of which assembly needs the bytes
NEAR = timedelta(days=30)  # how far apart mails of one person are put together


@dataclass(frozen=True)
class Mail:
    """A mail as it is kept."""

    message_id: str
    source: str
    written: datetime
    sender: str  # address, lower case
    name: str  # full name, "" where it is none
    subject: str
    kind: str
    reason: str
    references: tuple[str, ...]  # the parent last
    raw: bytes | None  # None: nothing needs its bytes
    settled: bool  # False: assembly has to look at it
    heard: bool = True  # False: there are commands in it to be judged


def add(session: Session, mail: Mail, now: datetime) -> bool:
    """Keep a mail; False when its Message-ID is there already."""
    known = select(MailRow.id).where(MailRow.message_id == mail.message_id)
    if session.scalar(known) is not None:
        return False
    row = MailRow(
        message_id=mail.message_id, source=mail.source, received=now, written=mail.written,
        sender=mail.sender[:320], name=mail.name.casefold()[:320], full=mail.name[:320],
        subject=mail.subject, kind=mail.kind, reason=mail.reason, settled=mail.settled,
        heard=mail.heard,
        ancestors=list(mail.references[-REFERENCES:]),
        raw=zlib.compress(mail.raw) if mail.raw is not None else None,
    )  # fmt: skip
    session.add(row)
    session.flush()
    near = dict.fromkeys(mail.references[-REFERENCES:])
    session.add_all(ReferenceRow(mail=row.id, ancestor=one) for one in near)
    return True


def unsettled(session: Session) -> tuple[int, ...]:
    """Return the mails that assembly has to look at, oldest first, AT_ONCE at most."""
    wanted = select(MailRow.id).where(MailRow.settled.is_(False)).order_by(MailRow.id)
    return tuple(session.scalars(wanted.limit(AT_ONCE)))


def settle(session: Session, mails: Sequence[int]) -> None:
    """Take note that assembly has looked at mails."""
    session.execute(update(MailRow).where(MailRow.id.in_(mails)).values(settled=True))


def neighbours(session: Session, mails: Sequence[int]) -> list[bytes]:
    """Return the raw mails that may belong to the same series as some, these included.

    They are those of the same threads, and those that the same people sent within NEAR.
    """
    seeds = session.scalars(select(MailRow).where(MailRow.id.in_(mails))).all()
    if not seeds:
        return []
    ancestors = select(ReferenceRow.ancestor).where(ReferenceRow.mail.in_(mails))
    keys = {one.message_id for one in seeds} | set(session.scalars(ancestors))
    below = select(ReferenceRow.mail).where(ReferenceRow.ancestor.in_(keys))
    people = or_(
        MailRow.sender.in_({one.sender for one in seeds}),
        MailRow.name.in_({one.name for one in seeds} - {""}),
    )
    first = moved(min(one.written for one in seeds), -NEAR)
    last = moved(max(one.written for one in seeds), NEAR)
    wanted = select(MailRow.raw).where(
        MailRow.raw.is_not(None),
        or_(
            MailRow.message_id.in_(keys),
            MailRow.id.in_(below),
            people & MailRow.written.between(first, last),
        ),
    )
    return [zlib.decompress(raw) for raw in session.scalars(wanted) if raw is not None]


def raw(session: Session, message_ids: Sequence[str]) -> list[bytes]:
    """Return the raw mails with these ids, as far as they are kept."""
    wanted = select(MailRow.raw).where(
        MailRow.message_id.in_(message_ids), MailRow.raw.is_not(None)
    )
    return [zlib.decompress(one) for one in session.scalars(wanted) if one is not None]


def unheard(session: Session) -> tuple[bytes, ...]:
    """Return the raw mails with commands that are to be judged, in the order they came."""
    wanted = select(MailRow.raw).where(MailRow.heard.is_(False), MailRow.raw.is_not(None))
    found = session.scalars(wanted.order_by(MailRow.id))
    return tuple(zlib.decompress(one) for one in found if one is not None)


def heard(session: Session, message_id: str) -> None:
    """Take note that a mail's commands were judged; its bytes go where no series needs them."""
    row = session.scalar(select(MailRow).where(MailRow.message_id == message_id))
    if row is not None:
        row.heard = True
        row.raw = row.raw if row.kind in NEEDED else None


@dataclass(frozen=True)
class Head:
    """What of a mail is needed to answer it."""

    name: str
    subject: str
    references: tuple[str, ...]  # the parent last


def head(session: Session, message_id: str) -> Head | None:
    """Return what is needed to answer a mail; None where it is not known."""
    row = session.scalar(select(MailRow).where(MailRow.message_id == message_id))
    return Head(row.full, row.subject, tuple(row.ancestors)) if row else None


def has(session: Session, message_id: str) -> bool:
    """Whether a mail is known."""
    wanted = select(MailRow.id).where(MailRow.message_id == message_id)
    return session.scalar(wanted) is not None
