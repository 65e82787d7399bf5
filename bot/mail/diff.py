"""Where a diff begins and ends in a mail, found by counting the lines of its hunks."""

from __future__ import annotations

import re
from dataclasses import dataclass

_HUNK = re.compile(rb"@@ -\d{1,9}(?:,(\d{1,9}))? \+\d{1,9}(?:,(\d{1,9}))? @@")
# the extended headers that git-diff(1) documents, "generating patch text with -p"
_HEADER = re.compile(
    rb"(diff --git |index [0-9a-f]+\.\.|old mode |new mode |deleted file mode |new file mode "
    rb"|copy from |copy to |rename from |rename to |similarity index |dissimilarity index "
    rb"|--- |\+\+\+ |Binary files |GIT binary patch)"
)
_BINARY = re.compile(rb"(literal|delta) \d+\r?$")
_SIGNATURE = re.compile(rb"--? ?\r?$")


@dataclass(frozen=True)
class Diff:
    """A diff within the lines of a mail: ``lines[first:last]``."""

    first: int
    last: int  # exclusive; equal to first when there is no diff
    damage: str | None  # what is wrong with it, as half a sentence


def find(lines: list[bytes], start: int = 0) -> Diff:
    """Find the diff at or below ``start``; lines are without their line end."""
    first = next((n for n in range(start, len(lines)) if _begins(lines, n)), None)
    if first is None:
        return Diff(start, start, None)
    last = number = first
    file = b"?"
    while number < len(lines):
        line = lines[number]
        hunk = _HUNK.match(line)
        if hunk:
            number, damage = _hunk(lines, number, hunk)
            if damage:
                name = file.decode(errors="replace")
                return Diff(first, number, f"{damage} in the diff of {name}")
        elif _BINARY.match(line):
            number = _binary(lines, number)
        elif _in_header(lines, number):
            file = _file(line) or file
            number += 1
        elif _SIGNATURE.match(line):
            break  # what a signature quotes is not the patch
        else:
            number += 1
            continue
        last = number
    return Diff(first, last, None)


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
    if line.startswith((b"--- ", b"+++ ")) and not line.startswith(b"/dev/null", 4):
        return line[4:].split(b"\t")[0].strip().partition(b"/")[2]
    return None


def _hunk(lines: list[bytes], number: int, head: re.Match[bytes]) -> tuple[int, str | None]:
    """Step over one hunk; return the line after it, and what is wrong with it."""
    old, new = (1 if count is None else int(count) for count in head.groups())
    at = number + 1
    while old or new:
        if at >= len(lines):
            return at, f"the mail ends inside a hunk (lines left: {max(old, new)})"
        # an empty line is context whose one space a mailer stripped (git apply takes it)
        mark = lines[at][:1] or b" "
        takes = {b" ": (1, 1), b"\r": (1, 1), b"-": (1, 0), b"+": (0, 1), b"\\": (0, 0)}.get(mark)
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
