"""What is under way and what did not end, one by one: for `stackhog status` and the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import Session, aliased

from bot.store.jobs import State
from bot.store.tables import JobRow, NeedRow, RequestRow, SeriesRow
from bot.store.wishes import LIVE, Wish

MOST = 20  # of each kind that are listed; all are counted
GONE = "gone"  # a job that an artifact was missing for: the build is done again


@dataclass(frozen=True)
class Running:
    """A job that a worker has."""

    key: str
    kind: str
    series: str  # lead of the first that wants it; "" for none
    title: str
    step: str
    worker: str
    since: datetime | None


@dataclass(frozen=True)
class Run:
    """A run that is wanted, or was given up."""

    number: int
    series: str
    title: str
    state: str
    reason: str
    tries: int
    since: datetime  # when it was wanted, or ended
    due: datetime


@dataclass(frozen=True)
class Broken:
    """A job that was given up, and that no later try of it has mended."""

    key: str
    kind: str
    reason: str
    failures: int
    losses: int
    runs: tuple[int, ...]  # that were given up for it
    ended: datetime | None


@dataclass(frozen=True)
class Overview:
    """What is under way and what did not end; the lists have MOST entries at most."""

    running: tuple[Running, ...]
    runs: Mapping[str, int]  # by state
    waiting: tuple[Run, ...]  # the oldest first
    failed: tuple[Run, ...]  # the latest first
    failures: int  # how many there are of them
    broken: tuple[Broken, ...]


def overview(session: Session) -> Overview:
    """Return what is under way and what did not end."""
    rows = select(RequestRow.state, func.count()).group_by(RequestRow.state)
    states = dict(session.execute(rows.order_by(RequestRow.state)).all())
    live, given_up = RequestRow.state.in_(sorted(LIVE)), _given_up()
    failures = session.scalars(select(func.count()).select_from(RequestRow).where(given_up)).one()
    return Overview(
        running(session), states, _runs(session, live, RequestRow.at, RequestRow.id),
        _runs(session, given_up, RequestRow.ended.desc(), RequestRow.id.desc()), failures,
        broken(session),
    )  # fmt: skip


def running(session: Session) -> tuple[Running, ...]:
    """Return the jobs that workers have, those that began first before the others."""
    rows = (
        select(JobRow.key, JobRow.kind, JobRow.step, JobRow.worker, JobRow.started)
        .where(JobRow.state == State.RUNNING).order_by(JobRow.started, JobRow.key).limit(MOST)
    )  # fmt: skip
    found = []
    for key, kind, step, worker, started in session.execute(rows):
        series, title = _wanted_by(session, key)
        found.append(Running(key, kind, series, title, step, worker, started))
    return tuple(found)


def broken(session: Session) -> tuple[Broken, ...]:
    """Return the jobs for which runs were given up, the latest first."""
    wanted = exists().where(
        NeedRow.job == JobRow.key, NeedRow.request == RequestRow.id, _given_up()
    )
    rows = (
        select(JobRow.key, JobRow.kind, JobRow.reason, JobRow.failures, JobRow.losses, JobRow.ended)
        .where(JobRow.state == State.BROKEN, JobRow.outcome != GONE, wanted)
        .order_by(JobRow.ended.desc(), JobRow.key).limit(MOST)
    )  # fmt: skip
    return tuple(
        Broken(key, kind, reason, failures, losses, _given_up_for(session, key), ended)
        for key, kind, reason, failures, losses, ended in session.execute(rows)
    )


def _given_up() -> ColumnElement[bool]:
    """Whether a run was given up, and the series not run again since."""
    later = aliased(RequestRow)
    again = exists().where(
        later.series == RequestRow.series, later.id > RequestRow.id,
        later.state.in_(sorted([*LIVE, Wish.DONE, Wish.REFUSED])),
    )  # fmt: skip
    return (RequestRow.state == Wish.FAILED) & ~again.correlate(RequestRow)


def _given_up_for(session: Session, key: str) -> tuple[int, ...]:
    rows = select(RequestRow.id).join(NeedRow, NeedRow.request == RequestRow.id)
    return tuple(session.scalars(rows.where(NeedRow.job == key, _given_up()).order_by(RequestRow.id)))  # noqa: E501 # fmt: skip


def _wanted_by(session: Session, key: str) -> tuple[str, str]:
    rows = (
        select(RequestRow.series, SeriesRow.title)
        .join(NeedRow, NeedRow.request == RequestRow.id)
        .outerjoin(SeriesRow, SeriesRow.lead == RequestRow.series)
        .where(NeedRow.job == key, RequestRow.state.in_(sorted(LIVE)))
        .order_by(RequestRow.id).limit(1)
    )  # fmt: skip
    row = session.execute(rows).first()
    return (row[0], row[1] or "") if row else ("", "")


def _runs(session: Session, which: ColumnElement[bool], *order: Any) -> tuple[Run, ...]:  # noqa: ANN401 - what SQLAlchemy orders by has no common type
    row = RequestRow
    rows = (
        select(
            row.id, row.series, SeriesRow.title, row.state, row.reason, row.tries,
            func.coalesce(row.ended, row.at, type_=row.at.type), row.due,
        )
        .outerjoin(SeriesRow, SeriesRow.lead == row.series)
        .where(which).order_by(*order).limit(MOST)
    )  # fmt: skip
    return tuple(
        Run(number, series, title or "", state, reason, tries, since, due)
        for number, series, title, state, reason, tries, since, due in session.execute(rows)
    )
