"""How the service stands, as a person or a program reads it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bot.contract import Queue
from bot.mail.headers import printable
from bot.store.overview import Run
from bot.store.wishes import Wish
from bot.web.standing import Standing

GIB = 1 << 30
WIDE = 120  # columns, where there is no terminal to ask
LONG = ("series", "reason")  # columns that give way where the screen is narrow
TITLE = 60  # characters of a title
UNITS = (("d", 86400), ("h", 3600), ("min", 60))


def show(found: Standing, console: Console | None = None) -> None:
    """Print it; titles come out of mail, and are printed as plain text."""
    out = console or _console()
    for title, columns, rows in (
        _bots(found), _workers(found), _queues(found), _running(found), _runs(found, failed=False),
        _runs(found, failed=True), _broken(found), _outbox(found), _sources(found),
    ):  # fmt: skip
        _section(out, title, columns, list(rows))
    if not found.needs:
        out.print(Text("Nothing needs you."))
        return
    out.print(Text("Needs you", "bold"))
    for need in found.needs:
        out.print(Text(f"  {printable(need.what)}: {printable(need.action)}"))


def as_object(found: Standing) -> dict[str, Any]:
    """Return the same for JSON; times are ISO 8601 in UTC."""
    counters = [[*key, value] for key, value in sorted(found.figures.counters.items())]
    jobs = [[*key, value] for key, value in sorted(found.figures.jobs.items())]
    plain = asdict(found)
    plain["figures"] |= {"counters": counters, "jobs": jobs}
    return {"ok": not found.needs, **_plain(plain)}


def ago(when: datetime | None, now: datetime) -> str:
    """Return how long ago something was, in the largest unit of which it is two or more."""
    if when is None:
        return "-"
    seconds = max(0, int((now - when).total_seconds()))
    for unit, size in UNITS:
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _console() -> Console:
    found = Console(highlight=False)
    return found if found.is_terminal or "COLUMNS" in os.environ else Console(width=WIDE)


_Section = tuple[str, tuple[str, ...], Iterable[tuple[str, ...]]]


def _section(out: Console, title: str, columns: tuple[str, ...], rows: list[Any]) -> None:
    if not rows:
        return
    out.print(Text(title, "bold"))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    for at, name in enumerate(columns):
        if name in LONG:
            table.add_column(name, overflow="fold")
        else:
            widest = max(len(name), *(len(row[at]) for row in rows))
            table.add_column(name, no_wrap=True, min_width=widest)
    for row in rows:
        table.add_row("", *(Text(printable(cell)) for cell in row))
    out.print(table)


def _bots(found: Standing) -> _Section:
    last, alive = found.living.last, found.living.bots
    shown = alive or ((last,) if last else ())
    rows = [
        (one.name, ago(one.since, found.at), f"{ago(one.seen, found.at)} ago",
         "reached" if one.broker else "away", one.version)
        for one in shown
    ] or [("none", "-", "never", "-", "")]  # fmt: skip
    return "Bot", ("name", "up", "seen", "broker", "version"), rows


def _workers(found: Standing) -> _Section:
    rows = [
        (one.name, f"{one.slots}{' draining' if one.draining else ''}", ", ".join(one.queues),
         f"{one.disk_free / GIB:.1f} GiB",
         f"{one.disk_used / GIB:.1f}" + (f" of {one.disk_budget / GIB:.1f}" if one.disk_budget else ""),  # noqa: E501
         f"{ago(one.seen, found.at)} ago")
        for one in found.living.workers
    ] or [("none", "0", "", "", "", "")]  # fmt: skip
    return "Workers", ("name", "slots", "queues", "free", "used", "seen"), rows


def _queues(found: Standing) -> _Section:
    lines = {one.kind: one for one in found.figures.lines}
    rows = []
    for kind in Queue:
        line = lines.get(kind)
        counts = (str(line.waiting), str(line.running)) if line else ("0", "0")
        rows.append((kind.value, *counts, ago(line.oldest if line else None, found.at)))
    return "Queues", ("queue", "waiting", "running", "oldest"), rows


def _running(found: Standing) -> _Section:
    rows = (
        (one.kind, ago(one.since, found.at), one.worker,
         f"{_title(one.title or one.series)}: {one.step or 'begins'}")
        for one in found.overview.running
    )  # fmt: skip
    return "Running jobs", ("job", "since", "worker", "series"), rows


def _runs(found: Standing, *, failed: bool) -> _Section:
    there = found.overview
    runs = there.failed if failed else there.waiting
    number = there.failures if failed else sum(there.runs.get(one, 0) for one in ("waiting", "running"))  # noqa: E501 # fmt: skip
    more = f", the {'latest' if failed else 'oldest'} {len(runs)}" if number > len(runs) else ""
    title = f"{'Given up' if failed else 'Runs'} ({number}{more})"
    rows = (
        (str(one.number), _state(one, found), ago(one.since, found.at),
         ": ".join(filter(None, (_title(one.title or one.series), one.reason))))
        for one in runs
    )  # fmt: skip
    return title, ("run", "state", "since", "series"), rows


def _title(text: str) -> str:
    return text if len(text) <= TITLE else f"{text[: TITLE - 1]}…"


def _state(run: Run, found: Standing) -> str:
    if run.state == Wish.WAITING and run.due > found.at:
        return f"again at {run.due:%H:%M} UTC"
    return run.state


def _broken(found: Standing) -> _Section:
    rows = (
        (one.key[:12], one.kind, f"{one.failures} broken, {one.losses} lost",
         ", ".join(map(str, one.runs)), one.reason)
        for one in found.overview.broken
    )  # fmt: skip
    return "Broken jobs", ("job", "kind", "tries", "runs", "reason"), rows


def _outbox(found: Standing) -> _Section:
    post = found.figures.post
    title = "Outbox: sending is stopped" if post.stopped else "Outbox"
    states = post.states or {"mails": 0}
    return title, tuple(states), [tuple(map(str, states.values()))]


def _sources(found: Standing) -> _Section:
    rows = ((one.name, f"{ago(one.at, found.at)} ago") for one in found.figures.sources)
    return "Sources", ("source", "last mail"), rows


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON
    match value:
        case datetime():
            return value.isoformat()
        case Mapping():
            return {str(key): _plain(one) for key, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
    return value
