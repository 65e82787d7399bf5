"""What operators are shown in figures: all of it is read in one snapshot, and none of it is kept.

Wide rows are left alone: what a row's blobs come before costs SQLite a walk through all of them,
so that counts come out of indexes, and only rows that are few are looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bot.store import outbox, parts, schema
from bot.store.jobs import OPEN, State
from bot.store.parts import Part
from bot.store.tables import CursorRow, JobRow, OutboxRow, PartRow, SwitchRow

NO_SOURCE = "threads"  # what was looked for in an archive: bot/service/intake.py
ON_THEIR_WAY = (outbox.State.WAITING, *outbox.UNDER_WAY)
QUEUED = (State.READY, State.SENT)


@dataclass(frozen=True)
class Line:
    """The jobs of one kind that are not over."""

    kind: str
    waiting: int  # here, or at the broker
    running: int
    oldest: datetime | None  # when the oldest that waits was wanted; None: none waits


@dataclass(frozen=True)
class Post:
    """The outbox."""

    states: Mapping[str, int]
    oldest: datetime | None  # when the oldest mail was written that is on its way
    stopped: str  # why nothing is sent, or ""


@dataclass(frozen=True)
class Read:
    """A source of mail."""

    name: str
    at: datetime  # when it brought a mail last


@dataclass(frozen=True)
class Figures:
    """How it stands."""

    jobs: Mapping[tuple[str, str], int]  # by kind and state; what is none is not in it
    lines: tuple[Line, ...]  # of the kinds that have jobs
    counters: Mapping[tuple[str, str], int]  # by name and label
    post: Post
    sources: tuple[Read, ...]


def figures(session: Session) -> Figures:
    """Return how it stands."""
    there = _jobs(session)
    return Figures(there, _lines(session, there), parts.counted(session), post(session), sources(session))  # noqa: E501 # fmt: skip


def is_current(session: Session) -> bool:
    """Whether the store has the tables that this program knows."""
    return schema.revision(session.connection()) == schema.revisions()[0]


def known(session: Session, since: datetime) -> tuple[Part, ...]:
    """Return the processes that were seen since some time, and the last bot whenever that was."""
    found = parts.alive(session, since)
    if any(one.kind == "bot" for one in found):
        return found
    bots = select(PartRow).where(PartRow.kind == "bot").order_by(PartRow.seen.desc(), PartRow.name)
    row = session.scalar(bots.limit(1))
    last = (Part(row.name, row.kind, row.since, row.seen, row.facts),) if row else ()
    return (*last, *found)


def post(session: Session) -> Post:
    """Return how the outbox stands."""
    rows = select(OutboxRow.state, func.count()).group_by(OutboxRow.state)
    states = dict(session.execute(rows.order_by(OutboxRow.state)).all())
    moving = OutboxRow.state.in_(sorted(ON_THEIR_WAY))
    oldest = session.scalar(select(func.min(OutboxRow.created)).where(moving))
    switch = session.get(SwitchRow, outbox.SWITCH)
    stopped = switch.reason or "by hand" if switch is not None and switch.stopped else ""
    return Post(states, oldest, stopped)


def sources(session: Session) -> tuple[Read, ...]:
    """Return the sources of mail that were ever read, by name."""
    rows = select(CursorRow).where(CursorRow.source != NO_SOURCE).order_by(CursorRow.source)
    return tuple(Read(row.source, row.changed) for row in session.scalars(rows))


def _jobs(session: Session) -> dict[tuple[str, str], int]:
    """Count jobs; those that are done are all but the others, which are few."""
    kinds = select(JobRow.kind, func.count()).group_by(JobRow.kind)
    totals = dict(session.execute(kinds).all())
    others = [state for state in State if state is not State.DONE]
    rows = (
        select(JobRow.kind, JobRow.state, func.count())
        .where(JobRow.state.in_(sorted(others))).group_by(JobRow.kind, JobRow.state)
    )  # fmt: skip
    found = {(kind, state): number for kind, state, number in session.execute(rows)}
    for kind, total in totals.items():
        rest = total - sum(number for (one, _), number in found.items() if one == kind)
        found |= {(kind, State.DONE.value): rest} if rest else {}
    return dict(sorted(found.items()))


def _lines(session: Session, there: Mapping[tuple[str, str], int]) -> tuple[Line, ...]:
    rows = (
        select(JobRow.kind, func.min(JobRow.created))
        .where(JobRow.state.in_(sorted(QUEUED))).group_by(JobRow.kind)
    )  # fmt: skip
    oldest = dict(session.execute(rows).all())
    kinds = sorted({kind for kind, state in there if state in OPEN})
    return tuple(
        Line(
            kind, sum(there.get((kind, state), 0) for state in QUEUED),
            there.get((kind, State.RUNNING), 0), oldest.get(kind),
        )
        for kind in kinds
    )  # fmt: skip
