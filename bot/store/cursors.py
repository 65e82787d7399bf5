"""Where each source of mail goes on."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from bot.store.tables import CursorRow


def get(session: Session, source: str) -> str:
    """Return a source's cursor; "" where it has none."""
    row = session.get(CursorRow, source)
    return row.value if row else ""


def put(session: Session, source: str, value: str, now: datetime) -> None:
    """Keep a source's cursor."""
    row = session.get(CursorRow, source)
    if row is None:
        session.add(CursorRow(source=source, value=value, changed=now))
    else:
        row.value, row.changed = value, now
