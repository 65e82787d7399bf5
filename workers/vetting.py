"""Checks of a patch before it is applied: everything in it is hostile."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import PurePosixPath

import pygit2

from bot.contract import PatchText, Refusal, TheirsError

GITLINK = 0o160000
FILE_MODES = {0, 0o100644, 0o100755}
HUNK = re.compile(rb"@@ -\d+(?:,(?P<old>\d+))? \+\d+(?:,(?P<new>\d+))? @@")
NAMES = re.compile(rb"(?:---|\+\+\+|(?:rename|copy) (?:from|to)) (?P<name>[^\t]*)")
MODES = re.compile(rb"(?:old mode|new mode|new file mode|deleted file mode) (?P<mode>\d+)$")
ED = re.compile(rb"(?m)^\d+(?:,\d+)?[acd]$")
DOT_GIT = re.compile(r"\.git(?:[ .]*|[:~].*)|git~\d.*", re.IGNORECASE)  # NTFS reads them as .git


class PatchRefusedError(TheirsError):
    """A patch is not even tried; carries the refusal."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        where = f" ({refusal.file})" if refusal.file else ""
        super().__init__(f"patch {refusal.index} is refused: {refusal.reason}{where}")


def check(patch: PatchText, limit: int) -> None:
    """Raise PatchRefusedError unless the patch can be applied without danger.

    ``limit`` is the largest size of a diff in bytes.
    """
    for file, reason in _problems(patch.diff, limit):
        raise PatchRefusedError(Refusal(index=patch.index, file=file, reason=reason))


def _problems(diff: bytes, limit: int) -> Iterator[tuple[str | None, str]]:
    if len(diff) > limit:
        yield None, f"its diff has {len(diff)} bytes, more than the {limit} that are allowed"
        return
    if not diff.strip():
        yield None, "there is no diff in the mail"
        return
    if b"\0" in diff:
        yield None, "its diff holds NUL bytes"
        return
    for line in _outside_hunks(diff):
        yield from _header_problems(line)
    yield from _structure_problems(diff)


def _outside_hunks(diff: bytes) -> Iterator[bytes]:
    """Yield the lines that are not the body of a hunk."""
    old = new = 0
    for line in diff.split(b"\n"):
        if old > 0 or new > 0:
            old -= line[:1] in (b" ", b"-", b"")
            new -= line[:1] in (b" ", b"+", b"")
            continue
        hunk = HUNK.match(line)
        if hunk:
            old, new = int(hunk["old"] or 1), int(hunk["new"] or 1)
        yield line


def _header_problems(line: bytes) -> Iterator[tuple[str | None, str]]:
    name = NAMES.match(line)
    if name and name["name"].rstrip() != b"/dev/null":
        yield from _name_problems(name["name"].rstrip().decode(errors="replace"))
    mode = MODES.match(line)
    if mode and int(mode["mode"], 8) not in FILE_MODES:
        yield None, _mode_reason(int(mode["mode"], 8))
    if line.startswith((b"GIT binary patch", b"Binary files ")):
        yield None, "it changes a binary file"


def _mode_reason(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "it makes or changes a symbolic link"
    if stat.S_IFMT(mode) == GITLINK:
        return "it makes or changes a submodule"
    if mode & 0o6000:
        return f"it sets the mode {mode:o}, which is setuid or setgid"
    return f"it sets the mode {mode:o}; only 100644 and 100755 are taken"


def _name_problems(name: str) -> Iterator[tuple[str | None, str]]:
    if name.startswith('"'):
        yield name, "a file name is quoted"
        return
    if name.startswith("/"):
        yield name, "a file name is absolute"
        return
    parts = PurePosixPath(name).parts
    if ".." in parts:
        yield name, "a file name has '..' in it"
    if any(DOT_GIT.fullmatch(part) for part in parts):
        yield name, "a file name has '.git' in it"
    if "\\" in name or not name.isprintable():
        yield name, "a file name has control characters or backslashes"


def _structure_problems(diff: bytes) -> Iterator[tuple[str | None, str]]:
    try:
        parsed = pygit2.Diff.parse_diff(diff)
        deltas = list(parsed.deltas)
        hunks = sum(len(patch.hunks) for patch in parsed if patch is not None)
    except (pygit2.GitError, ValueError, KeyError) as error:
        if ED.search(diff):
            yield None, "it is an ed script, not a unified diff"
        else:
            yield None, f"its diff is damaged ({str(error).rstrip('.')})"
        return
    if not deltas:
        reason = "it is an ed script, not a unified diff" if ED.search(diff) else "it has no diff"
        yield None, reason
    written = sum(1 for line in _outside_hunks(diff) if HUNK.match(line))
    if hunks != written:
        yield None, "its diff is damaged (a hunk is cut short)"
    for delta in deltas:
        for side in (delta.old_file, delta.new_file):
            yield from _name_problems(side.path)
            if side.mode not in FILE_MODES:
                yield side.path, _mode_reason(side.mode)
