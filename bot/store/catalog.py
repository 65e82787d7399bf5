"""The series as people look for them: by state, label and text, the latest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select, tuple_
from sqlalchemy.orm import Session

from bot.store.jobs import State as Done
from bot.store.labels import Kind
from bot.store.series import State
from bot.store.tables import JobRow, LabelRow, NeedRow, RequestRow, RunRow, SeriesRow
from bot.store.wishes import Wish

PAGE = 50  # series of one page
RARE = 2000  # of a state that few have at a time, the latest
TESTED = ("failed", "passed")  # outcomes of runs that came to the end
LEFT = (State.OUTSIDE, State.SUPERSEDED)


class Standing(StrEnum):
    """How far a series has come, in one word for everything that may be known of it."""

    WAITING = "waiting"  # for parts of it
    QUEUED = "queued"
    RUNNING = "running"
    PASSED = "passed"
    FINDINGS = "findings"
    INCONCLUSIVE = "inconclusive"  # run, and not tested to the end
    SKIPPED = "skipped"  # with the reason
    BROKEN = "broken"  # ours


UNENDED = {
    Wish.WAITING: Standing.QUEUED,
    Wish.RUNNING: Standing.RUNNING,
    Wish.FAILED: Standing.BROKEN,
    Wish.CANCELLED: Standing.SKIPPED,
    Wish.REFUSED: Standing.SKIPPED,
}


@dataclass(frozen=True)
class Asked:
    """What is looked for; whatever is empty holds for all."""

    labels: tuple[tuple[Kind, str], ...] = ()
    standing: Standing | None = None
    text: str = ""  # in the submitter's address
    plain: str = ""  # its letters and digits: in those of the title
    since: datetime | None = None
    after: tuple[datetime, int] | None = None  # go on below this place


@dataclass(frozen=True)
class Card:
    """One series in a list."""

    lead: str
    title: str
    version: int
    total: int
    submitter: str
    date: datetime
    standing: Standing
    reason: str
    found: int = 0  # findings that were told
    step: str = ""  # what its running jobs are doing
    run: str | None = None  # key of its last run
    changed: datetime | None = None


@dataclass(frozen=True)
class Page:
    """A part of a list, and where the next part begins."""

    cards: tuple[Card, ...]
    after: tuple[datetime, int] | None = field(default=None)


def page(session: Session, asked: Asked, size: int = PAGE) -> Page:
    """Return the series that are looked for, the latest first."""
    # the index of the first label has the order of the list
    place = (LabelRow.date, LabelRow.series) if asked.labels else (SeriesRow.date, SeriesRow.id)
    rows = _from(asked).where(*_conditions(session, asked))
    if asked.since is not None:
        rows = rows.where(place[0] >= asked.since)
    if asked.after is not None:
        rows = rows.where(tuple_(*place) < asked.after)
    rows = rows.order_by(place[0].desc(), place[1].desc()).limit(size + 1)
    found = session.scalars(rows).all()
    shown = found[:size]
    after = (shown[-1].date, shown[-1].id) if len(found) > size else None
    return Page(_cards(session, shown), after)


def card(session: Session, lead: str) -> Card | None:
    """Return one series as a list has it."""
    found = _cards(session, session.scalars(select(SeriesRow).where(SeriesRow.lead == lead)).all())
    return found[0] if found else None


def counts(session: Session) -> dict[Standing, int]:
    """Return how many series are under way, by state; what has ended is not counted."""
    wanted = {Wish.WAITING: Standing.QUEUED, Wish.RUNNING: Standing.RUNNING}
    rows = (
        select(RequestRow.state, func.count()).where(RequestRow.state.in_(sorted(wanted)))
        .group_by(RequestRow.state)
    )  # fmt: skip
    return {wanted[Wish(state)]: number for state, number in session.execute(rows)}


def _from(asked: Asked) -> Select[SeriesRow]:
    rows = select(SeriesRow)
    for kind, value in asked.labels[:1]:
        about = (LabelRow.series == SeriesRow.id, LabelRow.kind == kind, LabelRow.value == value)
        rows = rows.join(LabelRow, and_(*about))
    return rows


def _conditions(session: Session, asked: Asked) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    for kind, value in asked.labels[1:]:
        more = select(LabelRow.series).where(LabelRow.kind == kind, LabelRow.value == value)
        found.append(SeriesRow.id.in_(more))
    if asked.text:
        found.append(_says(asked))
    if asked.standing is not None:
        found.append(_stands(session, asked.standing))
    return found


def _says(asked: Asked) -> ColumnElement[bool]:
    """Return whether a text is in a title or an address: both are kept in lower case."""
    found = SeriesRow.submitter.contains(asked.text.lower(), autoescape=True)
    return or_(found, SeriesRow.plain.contains(asked.plain)) if asked.plain else found


def _stands(session: Session, standing: Standing) -> ColumnElement[bool]:
    """Return whether a series stands so; what few do is looked up from their side."""
    row, run = RequestRow, RunRow
    match standing:
        case Standing.WAITING:
            return SeriesRow.state.notin_([*LEFT, State.INSIDE]) & _last(None)
        case Standing.QUEUED | Standing.RUNNING | Standing.BROKEN:
            wish = {"queued": Wish.WAITING, "running": Wish.RUNNING}.get(standing, Wish.FAILED)
            some = select(row.series).where(row.state == wish).order_by(row.id.desc()).limit(RARE)
            return SeriesRow.lead.in_(session.scalars(some).all()) & _last(row.state == wish)
        case Standing.SKIPPED:
            left = SeriesRow.state.in_(LEFT) & _last(None)
            return or_(left, _last(row.state.in_([Wish.CANCELLED, Wish.REFUSED])))
        case _:
            tested = run.outcome.in_(TESTED)
            told = {
                Standing.PASSED: tested & (run.found == 0),
                Standing.FINDINGS: tested & (run.found > 0),
            }.get(standing, ~tested)
            ended = exists().where(run.key == row.run, told)
            return _last((row.state == Wish.DONE) & ended)


def _last(which: ColumnElement[bool] | None) -> ColumnElement[bool]:
    """Return whether the last run that was wanted of a series is such; None: there is none."""
    row = RequestRow
    if which is None:
        return ~exists().where(row.series == SeriesRow.lead).correlate(SeriesRow)
    last = select(func.max(row.id)).where(row.series == SeriesRow.lead).correlate(SeriesRow)
    return exists().where(row.id == last.scalar_subquery(), which).correlate(SeriesRow)


def _cards(session: Session, rows: Sequence[SeriesRow]) -> tuple[Card, ...]:
    leads = [row.lead for row in rows]
    last = (
        select(func.max(RequestRow.id)).where(RequestRow.series.in_(leads))
        .group_by(RequestRow.series)
    )  # fmt: skip
    wanted = (
        select(
            RequestRow.id, RequestRow.series, RequestRow.state, RequestRow.reason, RequestRow.run,
            RunRow.outcome, RunRow.found, RequestRow.ended,
        )
        .outerjoin(RunRow, RunRow.key == RequestRow.run).where(RequestRow.id.in_(last))
    )  # fmt: skip
    requests = {one.series: one for one in session.execute(wanted)}
    running = [one.id for one in requests.values() if one.state == Wish.RUNNING]
    steps = _steps(session, running)
    return tuple(_card(row, requests.get(row.lead), steps) for row in rows)


def _steps(session: Session, requests: Sequence[int]) -> dict[int, str]:
    rows = (
        select(NeedRow.request, JobRow.kind, JobRow.step)
        .join(JobRow, JobRow.key == NeedRow.job)
        .where(NeedRow.request.in_(requests), JobRow.state == Done.RUNNING)
        .order_by(NeedRow.request, JobRow.started, JobRow.key)
    )  # fmt: skip
    found: dict[int, str] = {}
    for request, kind, step in session.execute(rows):
        before = f"{found[request]} · " if request in found else ""
        found[request] = f"{before}{kind}: {step or 'begins'}"
    return found


def _card(row: SeriesRow, request: Any, steps: dict[int, str]) -> Card:  # noqa: ANN401 - a row of columns has no type of its own
    standing, reason = _standing(row, request)
    return Card(
        row.lead, row.title, row.version, row.total, row.submitter, row.date, standing, reason,
        found=(request.found or 0) if request else 0,
        step=steps.get(request.id, "") if request else "", run=request.run if request else None,
        changed=(request.ended if request else None) or row.changed,
    )  # fmt: skip


def _standing(row: SeriesRow, request: Any) -> tuple[Standing, str]:  # noqa: ANN401 - the same
    if request is None:
        left = row.state in LEFT
        return (Standing.SKIPPED if left else Standing.WAITING), row.reason or _missing(row)
    if request.state != Wish.DONE:
        return UNENDED[request.state], request.reason
    if request.outcome not in TESTED:
        return Standing.INCONCLUSIVE, request.reason
    return (Standing.FINDINGS if request.found else Standing.PASSED), request.reason


def _missing(row: SeriesRow) -> str:
    missing = row.missing
    if not missing:
        return row.problem or ""
    shown = ", ".join(map(str, missing[:5])) + (" …" if len(missing) > 5 else "")  # noqa: PLR2004 - enough for a line
    return f"patch {shown} of {row.total} has not come yet"
