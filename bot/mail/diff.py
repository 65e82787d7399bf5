"""Where a diff begins and ends in a mail, found by counting the lines of its hunks."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bot.mail.headers import printable

_HUNK = re.compile(rb"@@ -\d{1,9}(?:,(\d{1,9}))? \+\d{1,9}(?:,(\d{1,9}))? @@")
# the extended headers that git-diff(1) documents, "generating patch text with -p"
_HEADER = re.compile(
    rb"(diff --git |index [0-9a-f]+\.\.|old mode |new mode |deleted file mode |new file mode "
    rb"|copy from |copy to |rename from |rename to |similarity index |dissimilarity index "
    rb"|--- |\+\+\+ |Binary files |GIT binary patch)"
)
_BINARY = re.compile(rb"(literal|delta) \d+\r?$")
# by the first character of a line of a hunk: lines that it takes of the old and the new file
_TAKES = {b" ": (1, 1), b"\r": (1, 1), b"-": (1, 0), b"+": (0, 1), b"\\": (0, 0)}
_SIGNATURE = re.compile(rb"--? ?\r?$")
# an empty file, which is all header: the id of no content, in SHA-1 or SHA-256
_EMPTY = re.compile(
    rb"index (?:0+\.\.(?:e69de29|473a0f4)|(?:e69de29[0-9a-f]*|473a0f4[0-9a-f]*)\.\.0+)"
)


@dataclass(frozen=True)
class Diff:
    """A diff within the lines of a mail: ``lines[first:last]``."""

    first: int
    last: int  # exclusive; equal to first when there is no diff
    damage: str | None  # what is wrong with it, as half a sentence
    files: int = 0
    added: int = 0  # lines
    removed: int = 0


def find(lines: list[bytes], start: int = 0) -> Diff:
    """Find the diff at or below ``start``; lines are without their line end."""
    first = next((n for n in range(start, len(lines)) if _begins(lines, n)), None)
    if first is None:
        return Diff(start, start, None)
    reader = _Reader(lines, first)
    wrong = reader.read()
    name = printable(reader.name.decode(errors="replace"))
    damage = f"{wrong} in the diff of {name}" if wrong else None
    return Diff(first, reader.last, damage, reader.files, reader.added, reader.removed)


def ends_signed(lines: list[bytes], last: int) -> bool:
    """Tell whether a mail goes on to its signature below the diff: then it was not cut."""
    return any(_SIGNATURE.match(line) for line in lines[last:])


class _Reader:
    """Steps over a diff; what is wrong with it is returned, as half a sentence."""

    def __init__(self, lines: list[bytes], first: int) -> None:
        self._lines, self._at = lines, first
        self._head: list[bytes] = []  # of the file that is read, until its first hunk
        self.last = first
        self.name = b"?"
        self.files = self.added = self.removed = 0

    def read(self) -> str | None:
        """Read all files; ``last`` is the line below what belongs to the diff."""
        while self._at < len(self._lines):
            if _SIGNATURE.match(self._lines[self._at]):
                break  # what a signature quotes is not the patch
            before = self._at
            wrong = self._step()
            if wrong or self._at > before:
                self.last = self._at
            if wrong:
                return wrong
            self._at = max(self._at, before + 1)
        return self._closed(at_end=True)

    def _step(self) -> str | None:
        """Step over what begins here, if that is a part of the diff."""
        line = self._lines[self._at]
        hunk = _HUNK.match(line)
        if hunk:
            return self._hunk(hunk)
        if _BINARY.match(line):
            self._at = _binary(self._lines, self._at)
            self._filled()
        elif _in_header(self._lines, self._at):
            return self._header(line)
        elif self._at == self.last and line and line[:4] == b"@@ -"[: len(line)]:
            return "the first line of a hunk is cut"
        return None

    def _hunk(self, hunk: re.Match[bytes]) -> str | None:
        first = self._at + 1
        self._at, wrong = _body(self._lines, self._at, hunk)
        self._filled()
        marks = [line[:1] for line in self._lines[first : self._at]]
        self.added += marks.count(b"+")
        self.removed += marks.count(b"-")
        return wrong

    def _header(self, line: bytes) -> str | None:
        plain = line.startswith(b"--- ") and (not self._head or _has(self._head, b"--- "))
        wrong = None
        if plain or line.startswith(b"diff --git "):
            wrong = self._closed()
            if not wrong:
                self._head = [line]
        elif self._head:
            self._head.append(line)
        if not wrong:
            self.name = _file(line) or self.name
            self._at += 1
        return wrong

    def _filled(self) -> None:
        """Take note that the header of a file has something below it."""
        self.files += bool(self._head)
        self._head = []

    def _closed(self, *, at_end: bool = False) -> str | None:
        """Take note that a file has ended; it may have had no hunk."""
        head, self._head = self._head, []
        if not head:
            return None
        if _whole(head):
            self.files += 1
            return None
        if at_end:
            return "the mail ends above the first hunk"
        # two lines of prose can look like the names in a diff
        return "there is no hunk" if head[0].startswith(b"diff --git ") else None


def _whole(head: list[bytes]) -> bool:
    """Tell whether the header of a file asks for no hunk below it."""
    if _has(head, b"--- ", b"+++ ", b"GIT binary patch"):
        return False
    if _has(head, b"index "):
        return _has(head, b"Binary files ") or any(_EMPTY.match(line) for line in head)
    unlike = _has(head, b"similarity index ") and not _has(head, b"similarity index 100%")
    return not unlike and head[-1].startswith((b"new mode ", b"rename to ", b"copy to "))


def _has(head: list[bytes], *starts: bytes) -> bool:
    return any(line.startswith(starts) for line in head)


def _begins(lines: list[bytes], number: int) -> bool:
    """Tell whether a diff of one file begins here: "diff --git", or "---" above "+++"."""
    if lines[number].startswith(b"diff --git "):
        return True
    below = lines[number + 1] if number + 1 < len(lines) else b""
    return lines[number].startswith(b"--- ") and below.startswith(b"+++ ")


def _in_header(lines: list[bytes], number: int) -> bool:
    line = lines[number]
    if line.startswith(b"--- "):
        return _begins(lines, number)
    return _HEADER.match(line) is not None


def _file(line: bytes) -> bytes | None:
    """Return the path that a header line names, without its a/ or b/."""
    if line.startswith(b"diff --git "):
        return line.rpartition(b" ")[2].strip(b'"\r').partition(b"/")[2]
    if line.startswith((b"--- ", b"+++ ")) and not line.startswith(b"/dev/null", 4):
        return line[4:].split(b"\t")[0].strip().partition(b"/")[2]
    return None


def _body(lines: list[bytes], number: int, head: re.Match[bytes]) -> tuple[int, str | None]:
    """Step over one hunk; return the line after it, and what is wrong with it."""
    old, new = (1 if count is None else int(count) for count in head.groups())
    at = number + 1
    while old or new:
        if at >= len(lines):
            return at, f"the mail ends inside a hunk (lines left: {max(old, new)})"
        # an empty line is context whose one space a mailer stripped (git apply takes it)
        mark = lines[at][:1] or b" "
        takes = _TAKES.get(mark)
        if takes is None or takes[0] > old or takes[1] > new:
            return at, f"a line is cut or wrapped inside a hunk (lines left: {max(old, new)})"
        old, new = old - takes[0], new - takes[1]
        at += 1
    if at < len(lines) and lines[at].startswith(b"\\ "):
        at += 1  # "\ No newline at end of file"
    return at, None


def _binary(lines: list[bytes], number: int) -> int:
    """Step over one block of a binary patch, the empty line that ends it included."""
    while number < len(lines) and lines[number].strip():
        number += 1
    return min(number + 1, len(lines))
