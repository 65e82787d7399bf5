"""What was asked for: commands as they were judged, runs that are wanted, and kept results."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session as Session  # noqa: PLC0414 - callers name it, and no SQL

from bot.store.tables import CommandRow, RequestRow, RunRow

FIRST, LONGEST = timedelta(minutes=5), timedelta(hours=8)  # between two tries of a run


class Wish(StrEnum):
    """What becomes of a run that is wanted."""

    WAITING = "waiting"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"  # ours: the operator looks into it


@dataclass(frozen=True)
class Asked:
    """A command and how it was judged."""

    message_id: str
    line: int
    sender: str
    verb: str
    args: dict[str, Any]
    series: str | None
    allowed: bool
    reason: str
    signature: str | None = None  # fingerprint of what was signed
    form: str = ""  # headers that were not


@dataclass(frozen=True)
class Wanted:
    """A run that is wanted; ``asked_in`` is the mail of the command, None: by scope."""

    id: int
    series: str
    args: dict[str, Any]
    asked_in: str | None
    asked_by: str | None


def audit(session: Session, asked: Asked, outcome: str, now: datetime) -> int | None:
    """Write a command down; None when that line of that mail was judged before."""
    there = select(CommandRow.id).where(
        CommandRow.message_id == asked.message_id, CommandRow.line == asked.line
    )
    if session.scalar(there) is not None:
        return None
    row = CommandRow(
        message_id=asked.message_id, line=asked.line, at=now, sender=asked.sender[:320],
        verb=asked.verb[:40], args=asked.args, series=asked.series, allowed=asked.allowed,
        reason=asked.reason, signature=asked.signature, form=asked.form, outcome=outcome,
    )  # fmt: skip
    session.add(row)
    session.flush()
    return row.id


def note(session: Session, number: int, outcome: str) -> None:
    """Write down what was done about a command."""
    session.execute(update(CommandRow).where(CommandRow.id == number).values(outcome=outcome))


def signed_before(session: Session, signature: str) -> tuple[str, str] | None:
    """Return the Message-ID and the unsigned headers with which a signature was seen first."""
    wanted = select(CommandRow).where(CommandRow.signature == signature).order_by(CommandRow.id)
    row = session.scalar(wanted.limit(1))
    return (row.message_id, row.form) if row else None


def cancelled(session: Session, number: int) -> bool:
    """Whether a run that was wanted has been cancelled meanwhile."""
    wanted = select(RequestRow.state).where(RequestRow.id == number)
    return session.scalar(wanted) == Wish.CANCELLED


def want(
    session: Session, series: str, args: dict[str, Any], command: int | None, now: datetime
) -> int:
    """Note that a run is wanted; return its number. By scope, once for each series."""
    if command is None:
        there = select(RequestRow.id).where(
            RequestRow.series == series, RequestRow.command.is_(None)
        )
        known = session.scalar(there)
        if known is not None:
            return known
    row = RequestRow(series=series, command=command, args=args, at=now, due=now, state=Wish.WAITING)
    session.add(row)
    session.flush()
    return row.id


def waiting(session: Session, now: datetime | None = None) -> tuple[Wanted, ...]:
    """Return the runs that are wanted: those that somebody asked for first, then by age.

    ``now`` leaves out what is put off until later.
    """
    wanted = (
        select(RequestRow, CommandRow.message_id, CommandRow.sender)
        .outerjoin(CommandRow, RequestRow.command == CommandRow.id)
        .where(RequestRow.state == Wish.WAITING)
        .order_by(RequestRow.command.is_(None), RequestRow.at, RequestRow.id)
    )
    if now is not None:
        wanted = wanted.where(RequestRow.due <= now)
    return tuple(
        Wanted(row.id, row.series, row.args, mail, sender)
        for row, mail, sender in session.execute(wanted)
    )


def put_off(session: Session, number: int, reason: str, now: datetime) -> datetime:
    """Try a run again later, each time after twice as long; return when."""
    row = session.get_one(RequestRow, number)
    row.due = now + min(FIRST * 2**row.tries, LONGEST)
    row.tries += 1
    row.reason = reason
    return row.due


def end(session: Session, number: int, state: Wish, reason: str, run: str | None = None) -> None:
    """Note what became of a run that was wanted."""
    session.execute(
        update(RequestRow).where(RequestRow.id == number)
        .values(state=state, reason=reason, run=run)
    )  # fmt: skip


def cancel(session: Session, series: str, reason: str, *, by_scope: bool = False) -> int:
    """Cancel the runs of a series that wait, or only those that nobody asked for; count them."""
    wanted = select(RequestRow).where(RequestRow.series == series, RequestRow.state == Wish.WAITING)
    if by_scope:
        wanted = wanted.where(RequestRow.command.is_(None))
    rows = session.scalars(wanted).all()
    for row in rows:
        row.state, row.reason = Wish.CANCELLED, reason
    return len(rows)


def keep(session: Session, key: str, series: str, outcome: str, report: str, now: datetime) -> None:
    """Keep what a run came to; a fresh one takes the place of the one before."""
    packed = zlib.compress(report.encode())
    session.merge(RunRow(key=key, series=series, at=now, outcome=outcome, report=packed))


def kept(session: Session, key: str) -> str | None:
    """Return the report of a run."""
    row = session.get(RunRow, key)
    return zlib.decompress(row.report).decode() if row else None


def latest(session: Session, series: str) -> str | None:
    """Return the report of the last run of a series."""
    wanted = select(RunRow).where(RunRow.series == series).order_by(RunRow.at.desc(), RunRow.key)
    row = session.scalar(wanted.limit(1))
    return zlib.decompress(row.report).decode() if row else None
