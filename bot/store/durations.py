"""How long things took, counted by the database into buckets; no row is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Float, Select, and_, case, func, literal, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from bot.store.jobs import State
from bot.store.outbox import State as Mail
from bot.store.tables import CommandRow, JobRow, MailRow, NeedRow, OutboxRow, RequestRow
from bot.store.wishes import Wish

# upper ends of the buckets, in seconds; the last one has none
EDGES = (
    0.1, 0.5, 1, 2, 5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1200, 1800, 3600, 7200, 21600,
    86400,
)  # fmt: skip
JOB, STAGE = "job", "stage"  # of a job from its start to its end; of a review
STAGES = ("assembled", "planned", "build", "stack", "stress", "told", "sent", "total")
_Rows = Select[str, Any, Any]  # a label, and two times


@dataclass(frozen=True)
class Spread:
    """How often something took how long; ``counts`` has one more than there are edges."""

    counts: tuple[int, ...]  # each within its own bucket
    seconds: float  # all together

    def __add__(self, other: Spread) -> Spread:
        pairs = zip(self.counts, other.counts, strict=True)
        return Spread(tuple(a + b for a, b in pairs), self.seconds + other.seconds)


NONE = Spread((0,) * (len(EDGES) + 1), 0.0)
Spreads = Mapping[tuple[str, str], Spread]  # by JOB and kind, or STAGE and stage


class _seconds(FunctionElement[float]):  # noqa: N801 - SQLAlchemy names functions so
    """Seconds from one time to another; 0 where a clock was set in between."""

    type = Float()
    inherit_cache = True
    name = "seconds"


@compiles(_seconds, "sqlite")
def _on_sqlite(element: _seconds, compiler: SQLCompiler, **more: Any) -> str:  # noqa: ANN401 - SQLAlchemy's signature
    first, last = (compiler.process(one, **more) for one in element.clauses)
    # a day in a float is exact to some 40 microseconds, and kept in milliseconds
    return f"max(0, round((julianday({last}) - julianday({first})) * 86400, 3))"


@compiles(_seconds, "postgresql")
def _on_postgresql(element: _seconds, compiler: SQLCompiler, **more: Any) -> str:  # noqa: ANN401 - the same
    first, last = (compiler.process(one, **more) for one in element.clauses)
    return f"greatest(0, extract(epoch from ({last} - {first}))::float8)"


def spreads(
    session: Session, after: datetime | None = None, until: datetime | None = None
) -> Spreads:
    """Count what ended after one time, and not after another; None: no limit."""
    when = _When(after, until)
    found: dict[tuple[str, str], Spread] = {}
    for family, rows in (
        (JOB, _ran(when)), (STAGE, _jobs(when)), (STAGE, _assembled(when)),
        (STAGE, _planned(when)), (STAGE, _told(when)), (STAGE, _sent(when)),
        (STAGE, _total(when)),
    ):  # fmt: skip
        found |= {(family, label): one for label, one in _counted(session, rows)}
    return found


def _counted(session: Session, rows: _Rows) -> Iterator[tuple[str, Spread]]:
    """Count rows of a label and two times."""
    timed = rows.subquery()
    label, first, last = timed.c
    # without MATERIALIZED the time would be worked out anew for each bucket
    took = select(label.label("label"), _seconds(first, last).label("took")).cte("took")
    took = took.prefix_with("MATERIALIZED")
    within = [func.sum(case((took.c.took <= edge, 1), else_=0)) for edge in EDGES]
    sums = select(took.c.label, func.count(), func.sum(took.c.took), *within)
    for name, number, seconds, *upto in session.execute(sums.group_by(took.c.label)):
        counts = (b - a for a, b in zip((0, *upto), (*upto, number), strict=True))
        yield name, Spread(tuple(counts), float(seconds))


@dataclass(frozen=True)
class _When:
    """A span of time."""

    after: datetime | None
    until: datetime | None

    def has(self, column: InstrumentedAttribute[Any]) -> ColumnElement[bool]:
        """Return whether a time is within."""
        found: ColumnElement[bool] = column.is_not(None)
        if self.after is not None:
            found = and_(found, column > self.after)
        return found if self.until is None else and_(found, column <= self.until)


def _is(column: InstrumentedAttribute[str], state: str) -> ColumnElement[bool]:
    """Whether a row is in a state, looked up by its time: of a state there are too many."""
    return func.coalesce(column, "") == state


def _ran(when: _When) -> _Rows:
    rows = select(JobRow.kind, JobRow.started, JobRow.ended)
    return rows.where(
        _is(JobRow.state, State.DONE), when.has(JobRow.ended), JobRow.started.is_not(None)
    )


def _jobs(when: _When) -> _Rows:
    rows = select(JobRow.kind, JobRow.created, JobRow.ended)
    return rows.where(_is(JobRow.state, State.DONE), when.has(JobRow.ended))


def _assembled(when: _When) -> _Rows:
    """First mail → wish; what was asked for by mail waited for a person."""
    rows = select(literal("assembled"), MailRow.received, RequestRow.at)
    rows = rows.join(MailRow, MailRow.message_id == RequestRow.series)
    return rows.where(RequestRow.command.is_(None), when.has(RequestRow.at))


def _planned(when: _When) -> _Rows:
    rows = select(literal("planned"), RequestRow.at, RequestRow.started)
    return rows.where(when.has(RequestRow.ended), RequestRow.started.is_not(None))


def _told(when: _When) -> _Rows:
    """Last job → end; a run whose jobs were all done before it began waited for none."""
    done = (
        select(RequestRow.started, RequestRow.ended, func.max(JobRow.ended).label("job"))
        .join(NeedRow, NeedRow.request == RequestRow.id)
        .join(JobRow, and_(JobRow.key == NeedRow.job, JobRow.ended <= RequestRow.ended))
        .where(_is(RequestRow.state, Wish.DONE), when.has(RequestRow.ended))
        .group_by(RequestRow.id, RequestRow.started, RequestRow.ended).subquery()
    )  # fmt: skip
    began = case((done.c.job < done.c.started, done.c.started), else_=done.c.job)
    return select(literal("told"), began, done.c.ended)


def _sent(when: _When) -> _Rows:
    return select(literal("sent"), OutboxRow.created, OutboxRow.changed).where(_left(when))


def _total(when: _When) -> _Rows:
    """The mail that caused it → its reply was taken; a reply is written before its run ends."""
    run = (
        select(RequestRow.id)
        .where(RequestRow.series == OutboxRow.series, _is(RequestRow.state, Wish.DONE))
        .where(RequestRow.ended >= OutboxRow.created)
        .order_by(RequestRow.ended, RequestRow.id).limit(1)
        .correlate(OutboxRow).scalar_subquery()
    )  # fmt: skip
    answered = aliased(RequestRow)
    cause = func.coalesce(CommandRow.message_id, OutboxRow.series)
    rows = (
        select(literal("total"), MailRow.received, OutboxRow.changed).select_from(OutboxRow)
        .join(answered, answered.id == run)
        .outerjoin(CommandRow, CommandRow.id == answered.command)
        .join(MailRow, MailRow.message_id == cause)
    )  # fmt: skip
    return rows.where(_left(when))


def _left(when: _When) -> ColumnElement[bool]:
    """Whether a mail is a reply that was sent."""
    is_reply = and_(_is(OutboxRow.state, Mail.SENT), OutboxRow.kind == "reply")
    return and_(is_reply, when.has(OutboxRow.changed))
