"""A store with a past: reviews that took known times, and processes that live or do not."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from bot.store import parts
from bot.store.tables import (
    CommandRow,
    CursorRow,
    JobRow,
    MailRow,
    NeedRow,
    OutboxRow,
    RequestRow,
    SeriesRow,
)

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
TITLE = "mm: write less"
PACKED = zlib.compress(b"{}")
KINDS = {"build": 40.0, "stack": 4.0, "stress": 60.0}  # seconds from start to end
PRESENCE = {
    "name": "w1", "host": "hogfast", "slots": 2, "queues": ["build", "stack", "stress"],
    "cores": 4, "memory": 8 << 30, "disk_free": 50 << 30, "disk_used": 3 << 30,
    "disk_budget": 20 << 30, "accelerator": "tcg", "version": "0.1.0", "draining": False,
}  # fmt: skip


def at(seconds: float) -> datetime:
    """Return a time relative to NOW."""
    return NOW + timedelta(seconds=seconds)


def lives(session: Session, seen: datetime = NOW, **facts: object) -> None:
    """Note a bot that reaches its broker, unless ``facts`` say otherwise."""
    known = {"host": "hogfast", "pid": 7, "roles": ["watch"], "version": "0.1.0", "broker": True}
    parts.saw(session, "hogfast:7", "bot", known | facts, seen)


def works(session: Session, name: str = "w1", seen: datetime = NOW, **facts: object) -> None:
    """Note a worker."""
    parts.saw(session, name, "worker", {**PRESENCE, "name": name, **facts}, seen)


def mail(session: Session, name: str, received: datetime) -> None:
    """Store a mail."""
    session.add(
        MailRow(
            message_id=name, source="mbox:/in", received=received, written=received,
            sender="jane@example.org", name="jane", full="Jane", subject=TITLE, ancestors=[],
            kind="patch", reason="", settled=True, heard=True,
        )
    )  # fmt: skip


def series(session: Session, lead: str, title: str = TITLE) -> None:
    """Store a series."""
    session.add(
        SeriesRow(
            lead=lead, title=title, plain="x", version=1, total=1, missing=[], problem=None,
            submitter="jane@example.org", date=NOW, change_id=None, supersedes=None,
            partial=False, state="inside", reason="", changed=NOW, due=NOW,
        )
    )  # fmt: skip


def run(
    session: Session, lead: str, wanted: datetime, state: str = "done", reason: str = "",
    **more: object,
) -> int:  # fmt: skip
    """Store a run that is wanted; return its number."""
    row = RequestRow(
        series=lead, args={}, at=wanted, due=wanted, state=state, reason=reason, plan=PACKED, **more
    )
    session.add(row)
    session.flush()
    return row.id


def job(
    session: Session, key: str, kind: str, state: str, created: datetime, number: int = 0,
    **more: object,
) -> None:  # fmt: skip
    """Store a job that a run needs; 0: none does."""
    session.add(
        JobRow(
            key=key, kind=kind, state=state, request=PACKED, priority=5, seconds=60,
            created=created, due=created, **more,
        )
    )  # fmt: skip
    session.flush()
    if number:
        session.add(NeedRow(request=number, job=key, shared=False))


def post(session: Session, name: str, state: str, created: datetime, **more: object) -> None:
    """Store a mail in the outbox."""
    values: dict[str, object] = {"changed": created, "kind": "reply", "due": created, **more}
    session.add(
        OutboxRow(
            message_id=name, thread=name, sender="bot@example.org", recipients=[], subject="Re",
            mail=PACKED, state=state, created=created, **values,
        )
    )  # fmt: skip


def source(session: Session, name: str, changed: datetime) -> None:
    """Note that a source brought a mail."""
    session.add(CursorRow(source=name, value="7", changed=changed))


def reviewed(session: Session, name: str, began: float, command: str | None = None) -> int:
    """Store a review that ended: seconds 1, 2, (build 45, stack 5, stress 65), 3, 4."""
    mail(session, name, at(began))
    series(session, name)
    number = None
    if command is not None:
        mail(session, command, at(began + 1000))
        asked = CommandRow(
            message_id=command, line=1, at=NOW, sender="m@example.org", verb="test", args={},
            series=name, allowed=True, reason="",
        )  # fmt: skip
        session.add(asked)
        session.flush()
        number, began = asked.id, began + 1000
    wanted, planned = began + 1, began + 3
    last = planned + KINDS["build"] + KINDS["stress"] + 10
    found = run(session, name, at(wanted), command=number, started=at(planned), ended=at(last + 3))
    start = planned
    for kind, took in KINDS.items():
        job(
            session, f"{kind}-{name}", kind, "done", at(start), found, started=at(start + 5),
            outcome="passed", ended=at(start + 5 + took) if kind != "stack" else at(start + 5),
        )  # fmt: skip
        start += took + 5 if kind == "build" else 0
    post(session, f"reply-{name}", "sent", at(last + 3), changed=at(last + 7), series=name)
    return found
