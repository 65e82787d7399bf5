"""Processes of ours that live, and how often something happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from bot.store.tables import CounterRow, PartRow


@dataclass(frozen=True)
class Part:
    """A process, and what it last said of itself."""

    name: str
    kind: str  # "bot" or "worker"
    since: datetime
    seen: datetime
    facts: dict[str, Any]


def saw(session: Session, name: str, kind: str, facts: Mapping[str, Any], now: datetime) -> None:
    """Note that a process lives."""
    values = {"kind": kind, "seen": now, "facts": dict(facts)}
    done = session.execute(
        update(PartRow).where(PartRow.name == name).values(**values).returning(PartRow.name)
    )
    if done.all():
        return
    try:
        with session.begin_nested():
            session.add(PartRow(name=name, since=now, **values))
    except IntegrityError:  # another process noted it between the two statements
        return


def alive(session: Session, since: datetime) -> tuple[Part, ...]:
    """Return the processes that were seen since some time, by name."""
    rows = select(PartRow).where(PartRow.seen >= since).order_by(PartRow.name)
    return tuple(
        Part(row.name, row.kind, row.since, row.seen, row.facts) for row in session.scalars(rows)
    )


def count(session: Session, name: str, label: str = "", by: int = 1) -> None:
    """Add to a counter, e.g. ("jobs", "build passed")."""
    for _ in range(2):
        done = session.execute(
            update(CounterRow)
            .where(CounterRow.name == name, CounterRow.label == label[:200])
            .values(value=CounterRow.value + by)
            .returning(CounterRow.name),
            execution_options={"synchronize_session": False},
        )
        if done.all():
            return
        try:
            with session.begin_nested():
                session.add(CounterRow(name=name, label=label[:200], value=0))
        except IntegrityError:  # another process made it
            continue


def counted(session: Session) -> dict[tuple[str, str], int]:
    """Return all counters by name and label."""
    rows = select(CounterRow).order_by(CounterRow.name, CounterRow.label)
    return {(row.name, row.label): row.value for row in session.scalars(rows)}
