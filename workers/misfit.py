"""Explains why a patch does not fit: which hunk, and what stands there instead.

Works on lines alone; what it is told comes from workers/apply.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bot.contract import Misfit

SHOWN = 12  # lines of a hunk that are shown
BEFORE = 3  # lines shown before the first that differs, as many as a diff's context
COMMON = 40  # a line that a file has more often than that says nothing about a place


@dataclass(frozen=True)
class Hunk:
    """A hunk: its first line in the old file (0-based), its lines before and after the change."""

    start: int
    old: tuple[bytes, ...]
    new: tuple[bytes, ...]


def hunk(line: int, lines: Sequence[tuple[str, bytes]]) -> Hunk:
    """Make a hunk of where it starts, 1-based, and its lines, each with its sign."""
    old, new = (
        tuple(text.rstrip(b"\r\n") for sign, text in lines if sign in signs)
        for signs in (" -", " +")
    )
    return Hunk(max(0, line - 1), old, new)


class Lines:
    """A file as it stands, made to be searched."""

    def __init__(self, lines: Sequence[bytes]) -> None:
        self.lines = tuple(lines)
        self._where: dict[bytes, list[int]] = {}
        for number, line in enumerate(self.lines):
            self._where.setdefault(line, []).append(number)

    def find(self, wanted: Sequence[bytes], near: int) -> int | None:
        """Return where ``wanted`` stands, as near to ``near`` as there is; None: nowhere."""
        if not wanted:
            return near
        anchor = min(range(len(wanted)), key=lambda n: len(self._where.get(wanted[n], ())))
        starts = (at - anchor for at in self._where.get(wanted[anchor], ()) if at >= anchor)
        size, whole = len(wanted), tuple(wanted)
        places = [at for at in starts if self.lines[at : at + size] == whole]
        return min(places, key=lambda at: (abs(at - near), at), default=None)

    def likeliest(self, wanted: Sequence[bytes], near: int) -> int:
        """Return where most of ``wanted`` stands in place; ``near`` where nothing of it does."""
        votes: Counter[int] = Counter()
        for number, line in enumerate(wanted):
            places = self._where.get(line, [])
            votes.update(at - number for at in places if at >= number and len(places) <= COMMON)
        return max(votes, key=lambda at: (votes[at], -abs(at - near), -at), default=max(0, near))


def of_file(index: int, file: str | None, reason: str) -> Misfit:
    """Return a misfit that no single hunk is to blame for."""
    return Misfit(
        index=index, file=file, hunk=None, line=None, expected=(), found=(), reason=reason
    )


def of_hunks(index: int, file: str, there: Sequence[bytes], hunks: Sequence[Hunk]) -> Misfit | None:
    """Return the first hunk that does not fit; None: each one does, taken by itself.

    What is shown begins shortly above the first line that differs; ``line`` is its place
    in the file as it stands, 1-based.
    """
    lines, shift = Lines(there), 0
    for number, hunk in enumerate(hunks, 1):
        place = lines.find(hunk.old, hunk.start + shift)
        if place is None:
            return _explained(index, file, number, lines, hunk, hunk.start + shift)
        shift = place - hunk.start
    return None


def _explained(index: int, file: str, number: int, lines: Lines, hunk: Hunk, near: int) -> Misfit:
    place = lines.likeliest(hunk.old, near)
    found = lines.lines[place : place + len(hunk.old)]
    same = (old == new for old, new in zip(hunk.old, found, strict=False))
    differs = next((n for n, equal in enumerate(same) if not equal), len(found))
    first = max(0, differs - BEFORE)
    line = place + first + 1
    reason = f"hunk {number} of {file} does not match at line {line}"
    done = lines.find(hunk.new, near)
    if done is not None and len(hunk.new) > 1:
        reason = f"hunk {number} of {file} is there already, at line {done + 1}"
    return Misfit(
        index=index, file=file, hunk=number, line=line, expected=_text(hunk.old[first:]),
        found=_text(found[first:]), reason=reason,
    )  # fmt: skip


def _text(lines: Sequence[bytes]) -> tuple[str, ...]:
    return tuple(line.decode(errors="replace") for line in lines[:SHOWN])
