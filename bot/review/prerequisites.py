"""The patches that a series says it needs below it, found among the series that are known.

``prerequisite-patch-id:`` is git-format-patch(1), "BASE TREE INFORMATION";
``prerequisite-message-id:`` and ``prerequisite-change-id:`` are b4's; ``Depends-on:`` and
``Based-on:`` with a Message-ID or a link are written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import pygit2

from bot.contract import PatchText
from bot.mail.patchtext import patch_texts
from bot.mail.series import Series
from bot.review.blobs import ODD

MOST = 100  # patches, and lines that name some
LONGEST = 400  # characters of what such a line says
_LINE = re.compile(
    r"(?im)^(prerequisite-(?:patch|message|change)-id|depends-on|based-on):[ \t]*(\S.*)$"
)
_PATCH_ID = re.compile(r"[0-9a-f]{40}\b")
_CHANGE_ID = re.compile(r"(\S{1,200}):v(\d{1,4})$")
_ID = re.compile(r"[^\s<>@/()\"]{1,200}@[^\s<>@/()\"]{1,200}")


@dataclass(frozen=True)
class Known:
    """The series that prerequisites are looked for among; a store may hand in its own mappings."""

    by_patch_id: Mapping[str, str]  # patch-id → Message-ID of the patch
    by_message_id: Mapping[str, Series]  # Message-ID of a patch or a cover → its series
    by_change: Mapping[tuple[str, int], str] = field(default_factory=dict)  # change-id, version → id # noqa: E501 # fmt: skip


@dataclass(frozen=True)
class Prerequisites:
    """What goes onto the base first, in order, and what was asked for and is not known."""

    patches: tuple[PatchText, ...] = ()
    missing: tuple[str, ...] = ()  # "1234567890ab, which no known patch has"


NOBODY = Known({}, {})


def patch_id(diff: bytes) -> str | None:
    """Return what `git patch-id --stable` prints for a diff; None where it cannot be read."""
    try:
        parsed = pygit2.Diff.parse_diff(diff)
        return str(parsed.patchid) if len(parsed) else None
    except ODD:
        return None


def known(found: Iterable[Series]) -> Known:
    """Return series as they are looked up; of two with the same patch the later one counts."""
    patches: dict[str, str] = {}
    mails: dict[str, Series] = {}
    changes: dict[tuple[str, int], str] = {}
    for series in sorted(found, key=lambda one: (one.date, one.id)):
        mails[series.id] = series
        if series.change_id:
            changes[series.change_id, series.version] = series.id
        for patch in series.patches:
            mails[patch.message.message_id] = series
            digest = patch_id(patch.message.diff)
            if digest:
                patches[digest] = patch.message.message_id
    return Known(patches, mails, changes)


def find(series: Series, among: Known) -> Prerequisites:
    """Return what a series needs below it, and below that, each patch once."""
    finder = _Finder(among)
    finder.visit(series)
    return Prerequisites(tuple(finder.patches.values()), tuple(dict.fromkeys(finder.missing)))


class _Finder:
    """Follows what series name, the deepest first."""

    def __init__(self, among: Known) -> None:
        self._known = among
        self._met: set[str] = set()  # series; they may name one another in a circle
        self.patches: dict[str, PatchText] = {}  # by what makes two mails one patch
        self.missing: list[str] = []

    def visit(self, series: Series) -> None:
        """Take what a series needs; the series itself is left to the caller."""
        self._met.add(series.id)
        own = {patch.message.message_id for patch in series.patches}
        for kind, text in _named(series):
            if kind == "prerequisite-patch-id":
                self._patch(text, own)
            else:
                self._series(kind, text)

    def _patch(self, text: str, own: set[str]) -> None:
        found = _PATCH_ID.match(text.lower())
        message_id = self._known.by_patch_id.get(found[0]) if found else None
        series = self._known.by_message_id.get(message_id) if message_id else None
        if series is None:
            said = f"{found[0][:12]}, which no known patch has" if found else "one without patch-id"
            self.missing.append(said)
        elif message_id not in own:
            self._take(one for one in patch_texts(series) if one.message_id == message_id)

    def _series(self, kind: str, text: str) -> None:
        message_id = self._message_id(kind, text)
        if message_id is None:
            self.missing.append(f"{_shown(text)}, which names no mail that is known")
            return
        series = self._known.by_message_id.get(message_id)
        if series is None:
            self.missing.append(f"{_shown(message_id)}, which is not among the known mail")
        elif not series.complete:
            self.missing.append(f"{_shown(message_id)}, of which patches are missing")
        elif series.id not in self._met:
            self.visit(series)
            self._take(patch_texts(series))

    def _message_id(self, kind: str, text: str) -> str | None:
        change = _CHANGE_ID.match(text)
        if kind == "prerequisite-change-id":
            return self._known.by_change.get((change[1], int(change[2]))) if change else None
        return message_id(text)

    def _take(self, texts: Iterable[PatchText]) -> None:
        for one in texts:
            key = patch_id(one.diff) or one.message_id
            if len(self.patches) < MOST or key in self.patches:
                self.patches.setdefault(key, one)
            else:
                self.missing.append(f"those beyond the first {MOST} patches")


def names_any(series: Series) -> bool:
    """Whether a series says that it needs something below it."""
    return next(_named(series), None) is not None


def _named(series: Series) -> Iterator[tuple[str, str]]:
    """Yield what the mails of a series name: the kind, in lower case, and the rest of the line."""
    mails = ([series.cover] if series.cover else []) + [one.message for one in series.patches]
    lines = (line for mail in mails for text in (mail.above, mail.below)
             for line in _LINE.finditer(text))  # fmt: skip
    found = dict.fromkeys((line[1].lower(), line[2][:LONGEST].strip()) for line in lines)
    yield from list(found)[:MOST]


def message_id(text: str) -> str | None:
    """Return the Message-ID in a text: in angle brackets, in a link as lore writes it, or bare."""
    _, opened, rest = text.partition("<")
    inside, closed, _ = rest.partition(">")
    if opened and closed and "@" in inside and "://" not in inside:
        return inside.strip()
    for word in text.replace("<", " ").replace(">", " ").split():
        found = _of_link(word) if "://" in word else _ID.fullmatch(word.strip("()[],;\"'"))
        if found:
            return found if isinstance(found, str) else found[0]
    return None


def _of_link(word: str) -> str | None:
    try:
        parts = urlsplit(word).path.split("/")
    except ValueError:  # an address that is none
        return None
    return next((unquote(part) for part in parts if "@" in part), None)


def _shown(text: str) -> str:
    return "".join(c for c in text if c.isprintable())[:80]
