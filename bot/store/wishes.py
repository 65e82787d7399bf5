"""What was asked for: commands as they were judged, runs that are wanted, and kept results."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.orm import Session as Session  # noqa: PLC0414 - callers name it, and no SQL
from sqlalchemy.orm import defer

from bot.store.tables import CommandRow, NeedRow, RequestRow, RunRow


class Wish(StrEnum):
    """What becomes of a run that is wanted."""

    WAITING = "waiting"
    RUNNING = "running"  # it is planned, and its jobs are in the store
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"  # ours: the operator looks into it
    REFUSED = "refused"  # theirs: it cannot be made, and who asked was told


LIVE = (Wish.WAITING, Wish.RUNNING)


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
    tries: int = 0  # how often planning it broke
    priority: int = 9


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
    """Return the runs that are to be planned: those that somebody asked for first, then by age.

    ``now`` leaves out what is put off until later.
    """
    return _wanted(session, RequestRow.state == Wish.WAITING, *_due(now))


def running(session: Session, now: datetime | None = None) -> tuple[Wanted, ...]:
    """Return the runs that are planned and not ended, likewise."""
    return _wanted(session, RequestRow.state == Wish.RUNNING, *_due(now))


def _due(now: datetime | None) -> tuple[ColumnElement[bool], ...]:
    if now is None:
        return ()
    return (or_(RequestRow.due <= now, RequestRow.at > now),)


def failed(session: Session) -> tuple[tuple[Wanted, str], ...]:
    """Return the runs that failed by our fault, each with the reason."""
    found = _wanted(session, RequestRow.state == Wish.FAILED)
    rows = select(RequestRow.id, RequestRow.reason).where(RequestRow.state == Wish.FAILED)
    reasons = {row.id: row.reason for row in session.execute(rows)}
    return tuple((one, reasons.get(one.id, "")) for one in found)


def some(session: Session, numbers: Collection[int]) -> tuple[Wanted, ...]:
    """Return those of some runs that are planned and not ended."""
    return _wanted(session, RequestRow.state == Wish.RUNNING, RequestRow.id.in_(sorted(numbers)))


def _wanted(session: Session, *which: ColumnElement[bool]) -> tuple[Wanted, ...]:
    rows = (
        select(RequestRow, CommandRow.message_id, CommandRow.sender)
        .outerjoin(CommandRow, RequestRow.command == CommandRow.id)
        .where(*which)
        .options(defer(RequestRow.plan))
        .order_by(RequestRow.command.is_(None), RequestRow.at, RequestRow.id)
    )
    return tuple(
        Wanted(row.id, row.series, row.args, mail, sender, row.tries, row.priority)
        for row, mail, sender in session.execute(rows)
    )


def series_of(session: Session, job: str) -> tuple[str, ...]:
    """Return the series whose runs need a job."""
    rows = (
        select(RequestRow.series).join(NeedRow, NeedRow.request == RequestRow.id)
        .where(NeedRow.job == job).distinct().order_by(RequestRow.series)
    )  # fmt: skip
    return tuple(session.scalars(rows))


def planned(session: Session, number: int, plan: str, priority: int, now: datetime) -> bool:
    """Keep the plan of a run; False: it waits no longer."""
    return _change(
        session, number, [Wish.WAITING], state=Wish.RUNNING, priority=priority, started=now,
        plan=zlib.compress(plan.encode()), reason="",
    )  # fmt: skip


def plan(session: Session, number: int) -> str | None:
    """Return the plan of a run."""
    packed = session.scalar(select(RequestRow.plan).where(RequestRow.id == number))
    return zlib.decompress(packed).decode() if packed is not None else None


def put_off(session: Session, number: int, reason: str, due: datetime) -> bool:
    """Go on with a run later; False: it has ended."""
    tries = RequestRow.tries + 1
    return _change(session, number, LIVE, due=due, tries=tries, reason=reason)


def end(
    session: Session,
    number: int,
    state: Wish,
    reason: str,
    now: datetime,
    run: str | None = None,
) -> bool:
    """Note what became of a run; False: it had ended before."""
    return _change(session, number, LIVE, state=state, reason=reason, run=run, ended=now)


def hasten(session: Session, now: datetime) -> None:
    """Let all that is put off go on now."""
    session.execute(
        update(RequestRow)
        .where(RequestRow.state.in_(sorted(LIVE)), RequestRow.due > now)
        .values(due=now),
        execution_options={"synchronize_session": False},
    )


def retry(session: Session, number: int, now: datetime) -> bool:
    """Let a run that failed be planned again."""
    return _change(
        session, number, [Wish.FAILED], state=Wish.WAITING, due=now, tries=0, ended=None, run=None
    )


def _change(
    session: Session, number: int, old: Collection[Wish], **values: object
) -> bool:  # fmt: skip
    changed = session.execute(
        update(RequestRow)
        .where(RequestRow.id == number, RequestRow.state.in_(sorted(old)))
        .values(**values)
        .returning(RequestRow.id),
        execution_options={"synchronize_session": False},
    )
    return bool(changed.all())


def cancel(
    session: Session, series: str, reason: str, now: datetime, *, by_scope: bool = False
) -> int:
    """Cancel the runs of a series, or only those that nobody asked for; count them."""
    wanted = select(RequestRow.id).where(
        RequestRow.series == series, RequestRow.state.in_(sorted(LIVE))
    )
    if by_scope:
        wanted = wanted.where(RequestRow.command.is_(None))
    numbers = session.scalars(wanted.order_by(RequestRow.id)).all()
    return sum(end(session, number, Wish.CANCELLED, reason, now) for number in numbers)


@dataclass(frozen=True)
class Ended:
    """What a run came to; ``found`` is how many findings were told."""

    key: str
    series: str
    outcome: str
    report: str  # JSON
    found: int = 0


def keep(session: Session, ended: Ended, now: datetime) -> None:
    """Keep what a run came to; a fresh one takes the place of the one before."""
    session.merge(
        RunRow(
            key=ended.key, series=ended.series, at=now, outcome=ended.outcome, found=ended.found,
            report=zlib.compress(ended.report.encode()),
        )
    )  # fmt: skip


def latest(session: Session, series: str) -> str | None:
    """Return the report of the last run of a series."""
    wanted = select(RunRow).where(RunRow.series == series).order_by(RunRow.at.desc(), RunRow.key)
    row = session.scalar(wanted.limit(1))
    return zlib.decompress(row.report).decode() if row else None
