"""What a list of series is asked for, as a query says it, and as a person reads it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from bot.mail.versions import plain
from bot.store.catalog import Asked, Standing
from bot.store.labels import LENGTH, Kind

WORDS = 100  # characters of a text that is looked for
NAMES = {
    Standing.WAITING: "waiting for parts", Standing.QUEUED: "queued",
    Standing.RUNNING: "running", Standing.PASSED: "passed", Standing.FINDINGS: "findings",
    Standing.INCONCLUSIVE: "inconclusive", Standing.SKIPPED: "skipped",
    Standing.BROKEN: "broken (ours)",
}  # fmt: skip


class BadQueryError(Exception):
    """A query that cannot be read; the text says which part, and what it may be."""


@dataclass(frozen=True)
class Query:
    """The parts of a query, as they were given."""

    list: str = ""
    maintainer: str = ""
    path: str = ""
    filesystem: str = ""
    state: str = ""
    text: str = ""

    def link(self, **more: str) -> str:
        """Return the query of a list like this one."""
        parts = {key: value for key, value in {**vars(self), **more}.items() if value}
        return "?" + urlencode(parts) if parts else ""

    @property
    def said(self) -> str:
        """What is looked for, for a title."""
        parts = [f"{key} {value}" for key, value in vars(self).items() if value]
        return ", ".join(parts) or "all series"


def query(given: Mapping[str, str]) -> Query:
    """Return the parts of a query that are known."""
    return Query(**{
        key: given.get(key, "").strip()[:LENGTH] for key in Query.__dataclass_fields__
    })  # fmt: skip


def asked(one: Query, after: str = "") -> Asked:
    """Return what is looked for. Raises BadQueryError."""
    labels = tuple(
        (kind, value.lower() if kind in {Kind.LIST, Kind.MAINTAINER} else value.strip("/"))
        for kind in Kind if (value := getattr(one, kind.value))
    )  # fmt: skip
    try:
        standing = Standing(one.state) if one.state else None
    except ValueError as error:
        known = ", ".join(Standing)
        raise BadQueryError(f"there is no state of that name: it is one of {known}") from error
    words = one.text[:WORDS]
    place = _place(after) if after else None
    return Asked(labels, standing, words, plain(words), None, place)


def mark(place: tuple[datetime, int]) -> str:
    """Return a place in a list as a query has it."""
    text = json.dumps([place[0].isoformat(), place[1]])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _place(text: str) -> tuple[datetime, int]:
    try:
        found = json.loads(base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4)))
        when, number = datetime.fromisoformat(found[0]), int(found[1])
    except (ValueError, TypeError, IndexError, KeyError, binascii.Error) as error:
        raise BadQueryError("`after` is none that this page gave: begin the list anew") from error
    if when.tzinfo is None or not 0 <= number < 1 << 31:
        raise BadQueryError("`after` is none that this page gave: begin the list anew")
    return when, number
