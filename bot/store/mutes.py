"""Findings that somebody asked not to hear of again."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from bot.store.tables import MuteRow


@dataclass(frozen=True)
class Muted:
    """A mute: of what, why, by whom."""

    fingerprint: str
    reason: str
    by: str
    message_id: str


def add(session: Session, series: str, muted: Muted, now: datetime) -> bool:
    """Mute a finding of a series; False when it is muted already."""
    if any(one.fingerprint == muted.fingerprint for one in of(session, [series])):
        return False
    session.add(
        MuteRow(
            series=series, fingerprint=muted.fingerprint, reason=muted.reason, by=muted.by,
            message_id=muted.message_id, at=now,
        )
    )  # fmt: skip
    return True


def lift(session: Session, series: Collection[str], fingerprint: str, now: datetime) -> int:
    """Lift the mutes of a finding in these series; return how many there were."""
    wanted = select(MuteRow).where(
        MuteRow.series.in_(series), MuteRow.fingerprint == fingerprint, MuteRow.lifted.is_(None)
    )
    rows = session.scalars(wanted).all()
    for row in rows:
        row.lifted = now
    return len(rows)


def of(session: Session, series: Collection[str]) -> tuple[Muted, ...]:
    """Return the mutes in these series, the versions of one change, oldest first."""
    wanted = select(MuteRow).where(MuteRow.series.in_(series), MuteRow.lifted.is_(None))
    rows = session.scalars(wanted.order_by(MuteRow.at, MuteRow.id))
    return tuple(Muted(row.fingerprint, row.reason, row.by, row.message_id) for row in rows)
