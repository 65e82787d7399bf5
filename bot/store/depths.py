"""How deep chains were in the kernels of all runs: what their trend is drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from bot.store.tables import DepthRow

MOST = 400  # points of a trend, the latest


@dataclass(frozen=True)
class Point:
    """A chain in the kernels of one run, in bytes; None: it cannot be reached."""

    run: str
    series: str
    at: datetime
    tree: str
    release: str
    profile: str
    name: str
    before: int | None
    after: int | None
    budget: int


def put(session: Session, run: str, points: Sequence[Point]) -> None:
    """Keep the chains of a run; those of the same run before go."""
    session.execute(delete(DepthRow).where(DepthRow.run == run))
    session.add_all(DepthRow(**vars(one)) for one in points)
    session.flush()


def names(session: Session) -> tuple[tuple[str, str], ...]:
    """Return the profiles and the branches of them that there are points of."""
    rows = select(DepthRow.profile, DepthRow.name).distinct()
    found = session.execute(rows.order_by(DepthRow.profile, DepthRow.name)).all()
    return tuple((profile, name) for profile, name in found)


def trend(session: Session, profile: str, name: str) -> tuple[Point, ...]:
    """Return the latest points of a chain, the oldest of them first."""
    rows = (
        select(DepthRow).where(DepthRow.name == name, DepthRow.profile == profile)
        .order_by(DepthRow.at.desc(), DepthRow.run).limit(MOST)
    )  # fmt: skip
    return tuple(
        Point(
            one.run, one.series, one.at, one.tree, one.release, one.profile, one.name,
            one.before, one.after, one.budget,
        )
        for one in reversed(session.scalars(rows).all())
    )  # fmt: skip
