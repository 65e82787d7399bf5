"""What series may be looked up by: lists, people, files and filesystems."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from bot.store.tables import LabelRow, SeriesRow

LENGTH = 200  # characters of a value
MOST = 400  # labels of one series: one that touches a thousand files is found by the first


class Kind(StrEnum):
    """What a label says of a series."""

    LIST = "list"  # an address that it was sent to
    MAINTAINER = "maintainer"  # whose files it touches, by MAINTAINERS
    PATH = "path"  # a file that it touches, or a directory of one
    FILESYSTEM = "filesystem"


def put(session: Session, lead: str, labels: Iterable[tuple[Kind, str]]) -> None:
    """Give a series its labels; those that it had go."""
    row = session.execute(
        select(SeriesRow.id, SeriesRow.date).where(SeriesRow.lead == lead)
    ).first()
    if row is None:
        return
    session.execute(delete(LabelRow).where(LabelRow.series == row.id))
    wanted = sorted({(kind.value, value[:LENGTH]) for kind, value in labels if value})
    session.add_all(
        LabelRow(series=row.id, kind=kind, value=value, date=row.date)
        for kind, value in wanted[:MOST]
    )
    session.flush()


def known(session: Session, kind: Kind, most: int) -> tuple[str, ...]:
    """Return values of a kind, in their order."""
    rows = select(LabelRow.value).where(LabelRow.kind == kind).distinct()
    return tuple(session.scalars(rows.order_by(LabelRow.value).limit(most)))


def latest(session: Session, kind: Kind, most: int) -> tuple[tuple[str, datetime], ...]:
    """Return values of a kind with the date of the latest series of each, the latest first."""
    found = []
    for value in known(session, kind, most):
        rows = select(LabelRow.date).where(LabelRow.kind == kind, LabelRow.value == value)
        date = session.scalar(rows.order_by(LabelRow.date.desc()).limit(1))
        if date is not None:
            found.append((value, date))
    return tuple(sorted(found, key=lambda one: (one[1], one[0]), reverse=True))


def of(session: Session, lead: str) -> tuple[tuple[Kind, str], ...]:
    """Return the labels of a series."""
    rows = (
        select(LabelRow.kind, LabelRow.value)
        .join(SeriesRow, SeriesRow.id == LabelRow.series).where(SeriesRow.lead == lead)
        .order_by(LabelRow.kind, LabelRow.value)
    )  # fmt: skip
    return tuple((Kind(kind), value) for kind, value in session.execute(rows))
