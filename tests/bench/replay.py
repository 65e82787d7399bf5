"""`python -m tests.bench.replay SOURCE [TREE]`: a list's mail of a year, archive to replies.

SOURCE is what `stackhog watch` takes: a public-inbox archive, a maildir, an mbox. Everything is
done but the jobs, which a stub answers at once; nothing is sent. Printed is what became of each
series: reviewed, left alone with the reason, or incomplete.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import func, select

from bot.settings import load
from bot.store.database import sqlite
from bot.store.tables import MailRow, OutboxRow, RequestRow, SeriesRow
from workers import broker

ENDED = {"outside", "inside", "superseded", "incomplete"}  # of a series
OVER = {"done", "refused", "cancelled"}  # of a run
YEARS = 3650.0  # days that are read
SHOWN = 8


def replay(source: str, tree: str, home: Path) -> float:
    """Take in all there is and have it reviewed; return the seconds."""
    (home / "data").mkdir()
    (home / "data" / "trees").symlink_to(load().data / "trees")
    path = home / "broker"
    server = broker.start(path)
    env = {
        **os.environ, "STACKHOG_HOME": str(home), "STACKHOG_BROKER_URL": broker.url(path),
        "STACKHOG_TREE": tree, "STACKHOG_SINCE_DAYS": str(YEARS), "STACKHOG_SERIES_MINUTES": "0",
        "STACKHOG_LORE_URL": "http://127.0.0.1:9/none", "STACKHOG_SLOTS": "2", "STUB_SPEED": "0",
    }  # fmt: skip
    stub = [sys.executable, "-m", "tests.faults.stub", "worker", "--queues", "build,stack,stress"]
    with (home / "worker.log").open("wb") as log, (home / "bot.log").open("wb") as bot_log:
        worker = subprocess.Popen(stub, env=env, stdout=log, stderr=log)
        began = time.monotonic()
        try:
            subprocess.run(
                [sys.executable, "-m", "bot", "-v", "watch", "--once", source],
                env=env, check=True, stdout=bot_log, stderr=bot_log,
            )  # fmt: skip
            return time.monotonic() - began
        finally:
            for one in (worker, server):
                one.kill()
                one.wait()


def account(home: Path) -> tuple[list[str], list[str]]:
    """Return what became of everything, and what is not accounted for."""
    with sqlite(home / "data" / "store.db").session() as session:
        mails = session.execute(select(MailRow.kind, func.count()).group_by(MailRow.kind)).all()
        series = session.execute(select(SeriesRow.state, SeriesRow.reason, SeriesRow.lead)).all()
        runs = session.execute(select(RequestRow.state, RequestRow.reason, RequestRow.series)).all()
        replies = session.scalar(select(func.count()).select_from(OutboxRow))
    lines = [f"mails: {dict(sorted((k, n) for k, n in mails))}", f"replies: {replies}"]
    for what, rows in (("series", series), ("runs", runs)):
        states = Counter(row.state for row in rows)
        lines.append(f"{what}: {len(rows)}, {dict(sorted(states.items()))}")
        reasons = Counter((row.state, _plain(row.reason)) for row in rows)
        shown = sorted(reasons.items(), key=lambda one: (-one[1], one[0]))[:SHOWN]
        lines += [f"  {n:6} {state}: {reason}" for (state, reason), n in shown]
    lost = [f"series {row.lead} is {row.state}" for row in series if row.state not in ENDED]
    lost += [f"run of {row.series} is {row.state}: {row.reason}" for row in runs if row.state not in OVER]  # noqa: E501 # fmt: skip
    return lines, lost


def _plain(reason: str) -> str:
    """Return a reason without what differs from series to series."""
    words = [word for word in reason.split() if not any(c in word for c in "/0123456789:_.")]
    return " ".join(words)[:80]


def main(words: Sequence[str]) -> int:
    """Replay and print; return the exit status."""
    source, tree = words[0], words[1] if len(words) > 1 else "debian-6.1"
    with tempfile.TemporaryDirectory(prefix="stackhog-replay-") as name:
        home = Path(name)
        seconds = replay(source, tree, home)
        lines, lost = account(home)
    said = [f"{seconds:.0f} s", *lines, *(f"NOT ACCOUNTED FOR: {one}" for one in lost)]
    sys.stdout.write("\n".join(said) + "\n")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
