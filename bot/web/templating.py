"""Templates: everything that is put into one is escaped, unless it was made here."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from bot.mail.headers import printable

HERE = Path(__file__).parent
UNFIT = "\N{REPLACEMENT CHARACTER}"
NONE = "\N{EN DASH}"
MINUTE, HOUR, DAY = 60, 3600, 86400  # seconds


def environment(lore_url: str) -> Environment:
    """Return the templates, with the words that all of them use."""
    found = Environment(
        loader=FileSystemLoader(HERE / "templates"), undefined=StrictUndefined,
        autoescape=select_autoescape(default=True, default_for_string=True), trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    base = lore_url.rstrip("/")
    found.filters |= {
        "ago": ago, "stamp": stamp, "iso": iso, "shown": shown, "code": code, "bytes": sized,
        "growth": growth, "segment": segment, "span": span,
        "lore": lambda one: f"{base}/{segment(one)}/",
    }  # fmt: skip
    return found


def shown(text: object) -> str:
    """Return text that came by mail, without what a terminal or a browser would act upon."""
    return printable(str(text))


def code(text: object) -> str:
    """Return a line of a diff or of a console: its blanks and tabs stay."""
    return "".join(one if one.isprintable() or one == "\t" else UNFIT for one in str(text))


def segment(text: str) -> str:
    """Return a Message-ID as a part of a path."""
    return quote(text, safe="@")


def stamp(when: datetime | None) -> str:
    """Return a time as it is printed: UTC, to the minute."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if when else NONE


def iso(when: datetime | None) -> str:
    """Return a time for machines."""
    return when.astimezone(UTC).isoformat(timespec="seconds") if when else ""


def ago(when: datetime | None, now: datetime) -> str:
    """Return how long ago something was, in its largest unit."""
    return f"{span((now - when).total_seconds())} ago" if when else "never"


def span(seconds: float | None) -> str:
    """Return a time in its largest unit."""
    if seconds is None:
        return NONE
    for size, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def sized(number: int | None) -> str:
    """Return a number of bytes."""
    return NONE if number is None else f"{number:,}"


def growth(before: int | None, after: int | None) -> str:
    """Return a difference with its sign."""
    if before is None or after is None:
        return ""
    return "±0" if after == before else f"{after - before:+,}"


def render(templates: Environment, template: str, **values: Any) -> str:  # noqa: ANN401 - what a template takes
    """Return a page, or a part of one."""
    return templates.get_template(template).render(**values)
