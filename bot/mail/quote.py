"""Quotes the hunk of a patch that a finding is about, the way a reviewer does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from unidiff.errors import UnidiffParseError
from unidiff.patch import Hunk as DiffHunk
from unidiff.patch import PatchSet

from bot.contract import Finding, Span

MOST = 14  # quoted lines of one hunk
AROUND = 3  # lines of context kept before and after what matters
WIDEST = 120  # characters of a quoted line
CUT = "> [ ... ]"


@dataclass(frozen=True)
class Hunk:
    """One hunk of a patch: its file, header and lines with their place after the patch."""

    file: str
    header: str  # "@@ -1,3 +1,4 @@ section"
    section: str
    lines: tuple[tuple[str, int], ...]  # (line with its sign, line number after the patch)
    first: int
    last: int

    def added(self) -> tuple[int, ...]:
        """Return the places in `lines` of what the patch adds."""
        return tuple(n for n, (line, _) in enumerate(self.lines) if line.startswith("+"))


@dataclass(frozen=True)
class Place:
    """Where a finding is quoted; `through` says that its own lines are not in the patch."""

    hunk: Hunk
    around: tuple[int, ...]  # places in hunk.lines that matter
    through: bool


def hunks(diff: bytes) -> tuple[Hunk, ...]:
    """Return the hunks of a diff; none where it cannot be read."""
    try:
        patch = PatchSet(diff.decode("utf-8", errors="replace"))
    except UnidiffParseError:
        return ()
    return tuple(_hunk(file.path, hunk) for file in patch for hunk in file)


def removed(diffs: Iterable[bytes]) -> frozenset[str]:
    """Return the files that diffs, one on top of the other, delete or rename in the end."""
    gone: set[str] = set()
    for diff in diffs:
        try:
            patch = PatchSet(diff.decode("utf-8", errors="replace"))
        except UnidiffParseError:
            continue
        for file in patch:
            gone.discard(file.path)
            if file.is_removed_file:
                gone.add(file.path)
            elif file.is_rename:
                gone.add(file.source_file.removeprefix("a/"))
    return frozenset(gone)


def _hunk(file: str, hunk: DiffHunk) -> Hunk:
    lines, at = [], hunk.target_start
    for line in hunk:
        lines.append((str(line).rstrip("\n"), at))
        at += not line.is_removed
    section = hunk.section_header or ""
    header = f"@@ -{hunk.source_start},{hunk.source_length} +{hunk.target_start},{hunk.target_length} @@ {section}"  # noqa: E501 # fmt: skip
    return Hunk(file, header.rstrip(), section, tuple(lines), hunk.target_start, at - 1)


def place(finding: Finding, found: Sequence[Hunk], spans: Sequence[Span]) -> Place | None:
    """Return the hunk that caused a finding, the most telling first; None: there are no hunks.

    A function's own lines come first, then hunks whose header names it, then the other
    hunks of its file (something inlined into it changed), then the first of the patch
    (a header did).
    """
    here = [hunk for hunk in found if hunk.file == finding.file]
    if finding.function is None or finding.text:  # a message of gcc, a call: it has its line
        exact = _at_line(finding, here)
        if exact:
            return exact
    span = next((s for s in spans if _is_of(s, finding)), None)
    best = _in_span(here, span) or _in_section(here, finding.function)
    if best:
        return best
    for hunk in (*here, *found):
        if hunk.added():
            return Place(hunk, hunk.added(), through=finding.function is not None)
    return Place(found[0], (), through=finding.function is not None) if found else None


def _is_of(span: Span, finding: Finding) -> bool:
    return (span.patch, span.file, span.function) == (
        finding.patch, finding.file, finding.function,
    )  # fmt: skip


def _at_line(finding: Finding, here: Sequence[Hunk]) -> Place | None:
    for hunk in here:
        if finding.line is not None and hunk.first <= finding.line <= hunk.last:
            near = [n for n, (_, at) in enumerate(hunk.lines) if at == finding.line]
            return Place(hunk, tuple(near), through=False)
    return None


def _in_span(here: Sequence[Hunk], span: Span | None) -> Place | None:
    if span is None:
        return None
    for hunk in here:
        inside = tuple(n for n in hunk.added() if span.first <= hunk.lines[n][1] <= span.last)
        if inside:
            return Place(hunk, inside, through=False)
    return None


def _in_section(here: Sequence[Hunk], function: str | None) -> Place | None:
    name = (function or "").partition(".")[0]
    for hunk in here:
        if name and re.search(rf"\b{re.escape(name)}\b", hunk.section):
            return Place(hunk, hunk.added(), through=False)
    return None


def quoted(found: Place) -> Iterator[str]:
    """Yield the quoted lines: file, hunk header, and what matters, cut where it is long."""
    hunk = found.hunk
    yield f"> +++ b/{hunk.file}"
    yield _line(hunk.header)
    first, last = 0, len(hunk.lines)
    if last > MOST:
        centre = found.around or (0,)
        first = max(0, min(centre) - AROUND)
        last = min(len(hunk.lines), max(centre[-1] + AROUND, first) + 1, first + MOST)
    if first > 0:
        yield CUT
    for line, _ in hunk.lines[first:last]:
        yield _line(line)
    if last < len(hunk.lines):
        yield CUT


def _line(text: str) -> str:
    clean = "".join(c if c.isprintable() or c == "\t" else "?" for c in text)
    return "> " + (clean if len(clean) <= WIDEST else clean[: WIDEST - 3] + "...")
