"""Schemas that were released, each with rows in every table: NNNN.sql is such a store, dumped.

``python -m tests.released NNNN`` writes the file of a new one; those that are there stay as they
are, for stores like them are out there.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, MetaData, create_engine, select

from bot.store import schema

HERE = Path(__file__).parent
AT = datetime(2026, 1, 5, 12, 0)  # noqa: DTZ001 - as a database without zones has it
MAIL = zlib.compress(b"Subject: a reply\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n")
Rows = dict[str, list[dict[str, Any]]]
_STATES = (("waiting", None), ("reserved", "r"), ("handed", "h"), ("sent", "s"), ("held", None))

_FIRST: Rows = {
    "mails": [
        {
            "id": 3, "message_id": "a-0@x", "source": "list", "received": AT, "written": AT,
            "sender": "jane@x", "name": "jane doe", "full": "Jane Doe", "subject": "[PATCH] Grüße",
            "ancestors": ["r@x"], "kind": "patch", "reason": "a diff", "settled": True,
            "heard": False, "raw": MAIL,
        }
    ],
    "refs": [{"mail": 3, "ancestor": "r@x"}],
    "series": [
        {
            "id": 5, "lead": "a-0@x", "title": "Grüße", "plain": "grüße", "version": 2, "total": 1,
            "missing": [], "problem": None, "submitter": "jane@x", "date": AT, "change_id": "c",
            "supersedes": "o-0@x", "partial": False, "state": "inside", "reason": "mm",
            "changed": AT, "due": AT,
        }
    ],
    "members": [{"mail": 3, "series": 5, "place": 1}],
    "cursors": [{"source": "list", "value": "7", "changed": AT}],
    "commands": [
        {
            "id": 2, "message_id": "c@x", "line": 1, "at": AT, "sender": "m@x", "verb": "test",
            "args": {"jobs": ["build"]}, "series": "a-0@x", "allowed": True, "reason": "maintains",
            "signature": "f" * 64, "form": "", "outcome": "a run is wanted",
        }
    ],
    "requests": [
        {
            "id": 4, "series": "a-0@x", "command": 2, "args": {"jobs": ["build"]}, "at": AT,
            "due": AT, "tries": 1, "state": "waiting", "reason": "", "run": None,
        }
    ],
    "runs": [
        {"key": "k" * 64, "series": "a-0@x", "at": AT, "outcome": "passed",
         "report": zlib.compress(b"{}")}
    ],
    "mutes": [
        {
            "id": 1, "series": "a-0@x", "fingerprint": "a" * 64, "reason": "known", "by": "m@x",
            "message_id": "c@x", "at": AT, "lifted": None,
        }
    ],
    "outbox": [
        {
            "id": number, "message_id": f"stackhog-{number}@x", "kind": "reply", "series": "a-0@x",
            "thread": "a-0@x", "sender": "bot@x", "recipients": ["jane@x"], "subject": "Re: Grüße",
            "mail": MAIL, "state": state, "reason": "", "due": AT, "attempts": number % 3,
            "approved": AT, "tried": None, "claim": claim, "created": AT, "changed": AT,
        }
        for number, (state, claim) in enumerate(_STATES, 6)
    ],
    "deliveries": [
        {"id": 9, "outbox": 9, "attempt": 1, "at": AT, "stage": "sent", "said": "250 taken"}
    ],
    "sent": [
        {"outbox": 7, "recipient": "jane@x", "at": AT},
        {"outbox": 9, "recipient": "jane@x", "at": AT}
    ],
    "switches": [{"name": "sending", "stopped": None, "reason": ""}],
}  # fmt: skip
_SECOND: Rows = {
    **_FIRST,
    "requests": [
        {**_FIRST["requests"][0], "priority": 1, "plan": zlib.compress(b"{}"), "started": AT,
         "ended": None}
    ],
    "jobs": [
        {
            "key": "j" * 64, "kind": "build", "state": "sent", "request": zlib.compress(b"{}"),
            "result": None, "outcome": "", "reason": "", "priority": 1, "seconds": 1.5,
            "created": AT, "due": AT, "task": "j-1", "epoch": "e", "lease": AT, "attempts": 1,
            "losses": 0, "failures": 0, "worker": "w", "step": "", "sent": AT, "started": None,
            "ended": None,
        }
    ],
    "needs": [{"request": 4, "job": "j" * 64, "shared": False}],
    "parts": [{"name": "w", "kind": "worker", "since": AT, "seen": AT, "facts": {"slots": 2}}],
    "counters": [{"name": "runs", "label": "passed", "value": 3}],
}  # fmt: skip
_THIRD: Rows = {
    **_SECOND,
    "runs": [{**row, "found": 2} for row in _SECOND["runs"]],
    "jobs": [{**row, "log": "3 s: compiling"} for row in _SECOND["jobs"]],
    "labels": [{"series": 5, "kind": "list", "value": "list@x", "date": AT}],
    "depths": [
        {
            "run": "k" * 64, "profile": "swap-out", "name": "ext4", "series": "a-0@x", "at": AT,
            "tree": "t", "release": "6.1", "before": 7000, "after": None, "budget": 16384,
        }
    ],
}  # fmt: skip
ROWS: Mapping[str, Rows] = {"0001": _FIRST, "0002": _SECOND, "0003": _THIRD}
RELEASED = tuple(sorted(path.stem for path in HERE.glob("*.sql")))


def fill(connection: Connection, revision: str) -> None:
    """Make the tables of a revision, and put its rows into them."""
    schema.upgrade(connection, revision)
    tables = reflected(connection)
    connection.execute(tables.tables["switches"].delete())
    for table in tables.sorted_tables:
        connection.execute(table.insert(), ROWS[revision][table.name])


def reflected(connection: Connection) -> MetaData:
    """Return the tables that are there, but for Alembic's own."""
    found = MetaData()
    found.reflect(connection, only=lambda name, _: name != "alembic_version")
    return found


def rows(connection: Connection, like: Rows) -> Rows:
    """Return all rows, as far as they have the columns of ``like``."""
    found: Rows = {}
    for table in reflected(connection).sorted_tables:
        if table.name in like:
            columns = [table.c[name] for name in like[table.name][0]]
            some = connection.execute(select(*columns).order_by(*table.primary_key))
            found[table.name] = [dict(row._mapping) for row in some]
    return found


def dump(path: Path, revision: str) -> str:
    """Return a store of a revision in SQL, by making it in a file."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        fill(connection, revision)
    engine.dispose()
    raw = sqlite3.connect(path)
    lines: Sequence[str] = list(raw.iterdump())
    raw.close()
    return "\n".join((*lines, ""))
