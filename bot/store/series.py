"""Series as they come together, and in which state each is."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from bot.store.kinds import message_id, prose
from bot.store.tables import (
    CommandRow,
    MailRow,
    MemberRow,
    MuteRow,
    OutboxRow,
    RequestRow,
    RunRow,
    SeriesRow,
)

REFER = (RequestRow, MuteRow, CommandRow, RunRow, OutboxRow)  # by the lead's Message-ID
MOST = 500  # series that are looked through at once
REPEATED = -1  # the place of a mail of another sending of the same


class State(StrEnum):
    """How far a series has come."""

    WAITING = "waiting"  # mail may still come
    INCOMPLETE = "incomplete"  # nothing more came; looked at again when something does
    READY = "ready"  # whole, and nothing decided yet
    OUTSIDE = "outside"  # no rule of scope concerns it
    INSIDE = "inside"  # a run is wanted
    SUPERSEDED = "superseded"  # a later version came before it was run


@dataclass(frozen=True)
class Found:
    """A series as assembly sees it."""

    lead: str
    title: str
    plain: str  # the title's letters and digits
    version: int
    total: int
    missing: tuple[int, ...]
    problem: str | None
    submitter: str
    date: datetime
    change_id: str | None
    supersedes: str | None
    partial: bool
    members: tuple[tuple[str, int], ...]  # message-id and place


@dataclass(frozen=True)
class Kept:
    """A series as it is kept."""

    lead: str
    title: str
    version: int
    total: int
    missing: tuple[int, ...]
    problem: str | None
    submitter: str
    supersedes: str | None
    partial: bool
    state: State
    reason: str


def put(
    session: Session, found: Sequence[Found], now: datetime, due: Sequence[datetime]
) -> tuple[str, ...]:
    """Take over what assembly found among some mails; return the leads of what changed.

    ``due`` says for each when its state is looked at again, if it changed. A series whose
    lead changed, because its cover came late, keeps all that refers to it.
    """
    found = [_stored(one) for one in found]
    ids = _ids(session, (name for one in found for name, _ in one.members))
    heirs = _heirs(session, found, set(ids.values()))
    changed = []
    for one, when in zip(found, due, strict=True):
        row = heirs.get(one.lead)
        if row is None:
            row = SeriesRow(lead=one.lead, state=State.WAITING, reason="", changed=now, due=when)
        elif _same(session, row, one, ids):
            continue
        _fill(row, one)
        row.state, row.reason, row.changed, row.due = State.WAITING, "", now, when
        session.add(row)
        session.flush()
        _place(session, row, one, ids)
        changed.append(one.lead)
    return tuple(changed)


def _stored(one: Found) -> Found:
    """Return it with texts as they are stored, so that they are found again, and equal."""
    return replace(
        one, lead=message_id(one.lead),
        members=tuple({message_id(name): place for name, place in one.members}.items()),
        supersedes=None if one.supersedes is None else message_id(one.supersedes),
        problem=None if one.problem is None else prose(one.problem),
    )  # fmt: skip


def _ids(session: Session, names: Iterable[str]) -> dict[str, int]:
    wanted = select(MailRow.message_id, MailRow.id).where(MailRow.message_id.in_(set(names)))
    return {row.message_id: row.id for row in session.execute(wanted)}


def _heirs(session: Session, found: Sequence[Found], mails: set[int]) -> dict[str, SeriesRow]:
    """Return the row that each series goes on with; rows that none goes on with are removed."""
    having = select(MemberRow.series).where(MemberRow.mail.in_(mails))
    wanted = select(SeriesRow).where(SeriesRow.id.in_(having))
    rows = session.scalars(wanted.order_by(SeriesRow.id)).all()
    heirs: dict[str, SeriesRow] = {}
    for row in rows:
        heir = _heir(row.lead, found)
        if heir is None:
            continue  # a part of it was not looked at: it stays as it is
        if heir.lead != row.lead:
            for table in REFER:
                session.execute(
                    update(table).where(table.series == row.lead).values(series=heir.lead)
                )
        if heir.lead in heirs:
            session.execute(delete(MemberRow).where(MemberRow.series == row.id))
            session.delete(row)
            session.flush()
        else:
            heirs[heir.lead] = row
    return heirs


def _heir(lead: str, found: Sequence[Found]) -> Found | None:
    exact = next((one for one in found if one.lead == lead), None)
    if exact:
        return exact
    having = [one for one in found if any(name == lead for name, _ in one.members)]
    return min(having, key=lambda one: (one.partial, one.version, one.lead), default=None)


def _same(session: Session, row: SeriesRow, one: Found, ids: dict[str, int]) -> bool:
    there = select(MemberRow.mail, MemberRow.place).where(MemberRow.series == row.id)
    members = {(mail, place) for mail, place in session.execute(there)}
    wanted = {(ids[name], place) for name, place in one.members if name in ids}
    facts = (row.lead, row.version, row.total, tuple(row.missing), row.problem, row.supersedes)
    return members == wanted and facts == (
        one.lead, one.version, one.total, one.missing, one.problem, one.supersedes,
    )  # fmt: skip


def _fill(row: SeriesRow, one: Found) -> None:
    row.lead, row.title, row.plain = one.lead, one.title, one.plain[:500]
    row.version, row.total, row.missing = one.version, one.total, list(one.missing)
    row.problem, row.submitter, row.date = one.problem, one.submitter[:320], one.date
    row.change_id, row.supersedes, row.partial = one.change_id, one.supersedes, one.partial


def _place(session: Session, row: SeriesRow, one: Found, ids: dict[str, int]) -> None:
    session.execute(delete(MemberRow).where(MemberRow.series == row.id))
    session.add_all(
        MemberRow(mail=ids[name], series=row.id, place=place)
        for name, place in one.members if name in ids
    )  # fmt: skip
    session.flush()


def former(session: Session, one: Found) -> str | None:
    """Return the latest earlier version, by change-id, or by submitter and title."""
    titled = (SeriesRow.submitter == one.submitter) & (SeriesRow.plain == one.plain[:500])
    known = titled if one.change_id is None else or_(titled, SeriesRow.change_id == one.change_id)
    wanted = select(SeriesRow.lead).where(
        known, SeriesRow.lead != one.lead, SeriesRow.version < one.version,
        SeriesRow.date <= one.date,
    )  # fmt: skip
    latest = wanted.order_by(SeriesRow.version.desc(), SeriesRow.date.desc(), SeriesRow.lead)
    return session.scalar(latest.limit(1))


def due(session: Session, now: datetime, states: Collection[State]) -> tuple[Kept, ...]:
    """Return the series in some states that are to be looked at, in the order of that."""
    wanted = select(SeriesRow).where(SeriesRow.state.in_(states), SeriesRow.due <= now)
    return tuple(_kept(row) for row in session.scalars(wanted.order_by(SeriesRow.due, SeriesRow.id)))  # noqa: E501 # fmt: skip


def get(session: Session, lead: str) -> Kept | None:
    """Return the series with this lead."""
    row = session.scalar(select(SeriesRow).where(SeriesRow.lead == lead))
    return _kept(row) if row else None


def _kept(row: SeriesRow) -> Kept:
    return Kept(
        row.lead, row.title, row.version, row.total, tuple(row.missing), row.problem,
        row.submitter, row.supersedes, row.partial, State(row.state), row.reason,
    )  # fmt: skip


def since(session: Session, when: datetime) -> tuple[str, ...]:
    """Return the series sent since some time, the latest first, MOST at most."""
    wanted = select(SeriesRow.lead).where(SeriesRow.date >= when)
    return tuple(session.scalars(wanted.order_by(SeriesRow.date.desc(), SeriesRow.id).limit(MOST)))


def mark(session: Session, lead: str, state: State, reason: str) -> None:
    """Set the state of a series, with the reason in one line."""
    session.execute(
        update(SeriesRow).where(SeriesRow.lead == lead).values(state=state, reason=reason)
    )


def having(session: Session, message_id: str) -> tuple[str, ...]:
    """Return the series that a mail is in: where it was sent first, then what was laid over it."""
    wanted = (
        select(SeriesRow.lead).join(MemberRow).join(MailRow, MailRow.id == MemberRow.mail)
        .where(MailRow.message_id == message_id)
        .order_by(SeriesRow.partial, SeriesRow.version, SeriesRow.id)
    )  # fmt: skip
    return tuple(session.scalars(wanted))


def mails(session: Session, lead: str) -> tuple[str, ...]:
    """Return the ids of all mails of a series."""
    wanted = (
        select(MailRow.message_id).join(MemberRow, MemberRow.mail == MailRow.id)
        .join(SeriesRow).where(SeriesRow.lead == lead).order_by(MemberRow.place, MailRow.id)
    )  # fmt: skip
    return tuple(session.scalars(wanted))


def placed(session: Session, lead: str) -> list[tuple[bytes, int]]:
    """Return the raw mails of a series and the place of each."""
    wanted = (
        select(MailRow.raw, MemberRow.place).join(MemberRow, MemberRow.mail == MailRow.id)
        .join(SeriesRow).where(SeriesRow.lead == lead, MailRow.raw.is_not(None))
        .order_by(MemberRow.place, MailRow.message_id)
    )  # fmt: skip
    return [(zlib.decompress(row.raw), row.place) for row in session.execute(wanted)]


def lineage(session: Session, lead: str) -> tuple[str, ...]:
    """Return a series and all the versions before and after it, in no order that counts."""
    found, at = [lead], 0
    while at < len(found):
        one = found[at]
        before = select(SeriesRow.supersedes).where(SeriesRow.lead == one)
        after = select(SeriesRow.lead).where(SeriesRow.supersedes == one)
        near = [*session.scalars(before), *session.scalars(after.order_by(SeriesRow.lead))]
        found += [other for other in dict.fromkeys(near) if other and other not in found]
        at += 1
    return tuple(found)
