"""A store of many series, made up; the same number gives the same store."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert, text

from bot.contract import (
    Apply,
    BuildResult,
    Chain,
    Depth,
    Finding,
    FindingKind,
    Hop,
    Outcome,
    PatchBuilt,
    Severity,
    StackResult,
)
from bot.mail.versions import plain
from bot.service import reports
from bot.service.reports import Report
from bot.store.database import Store
from bot.store.tables import (
    DepthRow,
    LabelRow,
    MailRow,
    MemberRow,
    RequestRow,
    RunRow,
    SeriesRow,
)
from tests.letters import letter

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
AT_ONCE = 2000  # series of one transaction
LISTS = ("linux-mm", "linux-fsdevel", "linux-ext4", "linux-xfs", "linux-btrfs", "linux-block")
FILESYSTEMS = ("ext4", "xfs", "btrfs", "f2fs", "nfs", "fat")
FILES = ("inode.c", "file.c", "super.c", "namei.c")
WORDS = (
    "writeback", "folio", "reclaim", "truncate", "lock", "extent", "journal", "cache", "dirty",
    "inode", "stack", "buffer", "convert", "remove", "avoid", "fix", "split", "document",
)  # fmt: skip
PEOPLE = 400
ROWS = (SeriesRow, MailRow, MemberRow, LabelRow, RequestRow, RunRow, DepthRow)


def report(growth: int) -> Report:
    """Return what a run may have come to; ``growth`` is in bytes."""
    found = Finding(
        kind=FindingKind.FRAME_GREW, severity=Severity.FAIL, patch=1, file="mm/vmscan.c", line=12,
        function="pageout", before=88, after=88 + growth, text=("pageout() grows",),
        reproduce="make mm/vmscan.o",
    )  # fmt: skip
    patch = PatchBuilt(
        index=1, commit="1" * 40, applied=Apply.EXACT, seconds=1.5, objects=("mm/vmscan.o",),
        facts="e" * 64,
    )  # fmt: skip
    build = BuildResult(
        outcome=Outcome.PASSED, base_commit="c" * 40, compiler="gcc (Debian) 12.2.0",
        kernel_release="6.1.192", base_facts="f" * 64, patches=(patch,),
    )  # fmt: skip
    chain = Chain(
        profile="direct-reclaim-writepage", name="ext4", waypoints=("pageout", "ext4_writepage"),
        before=depth(88), after=depth(88 + growth), budget_bytes=16384, patch=1,
    )  # fmt: skip
    stack = StackResult(outcome=Outcome.PASSED, functions=400, objects=1, chains=(chain,))
    return Report(
        tree="t", commit="c" * 40, base_reason="head of the tree", build=build, stack=stack,
        findings=(found,) if growth else (), stress=None,
    )  # fmt: skip


def depth(pageout: int) -> Depth:
    names = [("do_syscall_64", 64), ("shrink_folio_list", 168), ("pageout", pageout),
             ("ext4_writepage", 128), ("submit_bio", 40)]  # fmt: skip
    hops, deep = [], 0
    for name, frame in names:
        deep += frame
        hops.append(
            Hop(function=name, file="mm/x.c", line=1, frame=frame, depth=deep, how="direct")
        )
    return Depth(witness_bytes=deep, upper_bytes=deep, hops=tuple(hops))


def fill(store: Store, number: int) -> None:
    """Put so many series into an empty store, one in nine of them reviewed."""
    texts = [zlib.compress(reports.write(report(growth)).encode()) for growth in (0, 392)]
    for first in range(0, number, AT_ONCE):
        rows: dict[type, list[dict[str, Any]]] = {one: [] for one in ROWS}
        for at in range(first, min(first + AT_ONCE, number)):
            for table, row in _series(at, number, texts):
                rows[table].append(row)
        with store.session() as session:
            for table in ROWS:
                if rows[table]:
                    session.execute(insert(table), rows[table])

    with store.session() as session:
        if session.connection().dialect.name == "postgresql":  # which counts by itself
            for name in ("mails", "series"):
                session.execute(text(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), {number})"))  # noqa: E501 # fmt: skip


def lead(at: int) -> str:
    return f"{at:07d}-0@example.org"


def _series(at: int, number: int, texts: list[bytes]) -> Iterator[tuple[type, dict[str, Any]]]:
    chance = random.Random(at)  # noqa: S311 - no secret
    filesystem, where = chance.choice(FILESYSTEMS), chance.choice(FILES)
    title = f"{filesystem}: {' '.join(chance.sample(WORDS, 4))}"
    date = NOW - timedelta(minutes=7 * (number - at))
    person = f"dev{chance.randrange(PEOPLE)}@example.org"
    inside = at % 9 == 0
    state = "inside" if inside else "waiting" if at > number - 20 else "outside"
    subject = f"[PATCH] {title}"
    raw = letter(subject, id=lead(at), sender=person)
    yield SeriesRow, {
        "id": at + 1, "lead": lead(at), "title": title, "plain": plain(title), "version": 1,
        "total": 1, "missing": [], "problem": None, "submitter": person, "date": date,
        "change_id": None, "supersedes": None, "partial": False, "state": state, "changed": date,
        "due": date,
        "reason": "reclaim: writepage" if inside else f"no rule concerns fs/{filesystem}/{where}",
    }  # fmt: skip
    yield MailRow, {
        "id": at + 1, "message_id": lead(at), "source": "list", "received": date, "written": date,
        "sender": person, "name": "dev", "full": "Dev", "subject": subject, "ancestors": [],
        "kind": "patch", "reason": "a diff", "settled": True, "heard": True,
        "raw": zlib.compress(raw),
    }  # fmt: skip
    yield MemberRow, {"mail": at + 1, "series": at + 1, "place": 1}
    labels = [
        ("list", f"{chance.choice(LISTS)}@lists.example.org"), ("filesystem", filesystem),
        ("path", "fs"), ("path", f"fs/{filesystem}"), ("path", f"fs/{filesystem}/{where}"),
    ]  # fmt: skip
    if inside:
        labels.append(("maintainer", f"owner-{filesystem}@example.org"))
    for kind, value in labels:
        yield LabelRow, {"series": at + 1, "kind": kind, "value": value, "date": date}
    if inside:
        yield from _run(at, number, texts, date)


def _run(
    at: int, number: int, texts: list[bytes], date: datetime
) -> Iterator[tuple[type, dict[str, Any]]]:
    key, ended = f"{at:064d}", date + timedelta(minutes=2)
    left = (number - at) // 9
    state = {0: "waiting", 1: "running"}.get(left, "failed" if at % 900 == 0 else "done")
    growth = 392 if at % 36 == 0 else 0
    outcome = "skipped" if at % 450 == 9 else "failed" if growth else "passed"
    done = state == "done"
    yield RequestRow, {
        "series": lead(at), "command": None, "args": {}, "at": date, "due": date, "tries": 0,
        "state": state, "reason": "the disk was full" if state == "failed" else "",
        "run": key if done else None, "priority": 9, "plan": None, "started": date,
        "ended": ended if done else None,
    }  # fmt: skip
    if not done:
        return
    yield RunRow, {
        "key": key, "series": lead(at), "at": ended, "outcome": outcome,
        "found": 1 if growth else 0, "report": texts[1 if growth else 0],
    }  # fmt: skip
    yield DepthRow, {
        "run": key, "profile": "direct-reclaim-writepage", "name": "ext4", "series": lead(at),
        "at": ended, "tree": "t", "release": "6.1.192", "before": 7344 - at % 100,
        "after": 7344 - at % 100 + growth, "budget": 16384,
    }  # fmt: skip
