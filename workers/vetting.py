"""Checks of a patch before it is applied: everything in it is hostile."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Sequence
from enum import Enum, auto
from pathlib import PurePosixPath

import pygit2

from bot.contract import PatchText, Refusal, TheirsError

GITLINK = 0o160000
FILE_MODES = {0, 0o100644, 0o100755}
HUNK = re.compile(rb"@@ -\d+(?:,(?P<old>\d{1,9}))? \+\d+(?:,(?P<new>\d{1,9}))? @@")
NAMES = re.compile(rb"(?:---|\+\+\+|(?:rename|copy) (?:from|to)) (?P<name>[^\t]*)")
MODES = re.compile(rb"(?:old mode|new mode|new file mode|deleted file mode) (?P<mode>\d\S*)\s*$")
INDEX = re.compile(rb"index [0-9a-f]+\.\.[0-9a-f]+(?: (?P<mode>[0-7]{1,7}))?\s*$")
OCTAL = re.compile(rb"[0-7]{1,7}")
ED = re.compile(rb"(?m)^\d+(?:,\d+)?[acd]$")
DOT_GIT = re.compile(r"\.git(?:[ .]*|[:~].*)|git~\d.*", re.IGNORECASE)  # NTFS reads them as .git
# how `diff -u` and quilt begin a file: two names, each with or without a time, and a hunk
PLAIN = re.compile(
    rb"--- (?P<before>[^\t\n]*)(?:\t.*)?\n"
    rb"\+\+\+ (?P<after>[^\t\n]*)(?:\t(?P<time>.*))?\n" + HUNK.pattern
)
NULL = b"/dev/null"
EPOCH = (b"1970-01-01 ", b"1969-12-31 ")  # how diff(1) dates a file that is not there


class Part(Enum):
    """What a line of a diff belongs to."""

    TEXT = auto()  # nothing of git's: what stands between two files
    HEAD = auto()  # git's header of a file, from "diff --git" on
    HUNK = auto()  # the first line of a hunk
    BODY = auto()  # its other lines


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


def taken(patch: PatchText) -> PatchText:
    """Return a patch with its diff as it was checked and is applied."""
    return patch.model_copy(update={"diff": as_git(patch.diff)})


def as_git(diff: bytes) -> bytes:
    """Return a diff in which each file has the ``diff --git`` line that libgit2 asks for.

    ``diff -u`` and quilt write none. Names lose their first directory, as with patch -p1,
    and a file without old lines is a new one. Files with git's header stay as they are.
    """
    lines = diff.split(b"\n")
    made: list[bytes] = []
    names = 0  # lines whose place a header took
    for number, part in enumerate(_parts(lines)):
        plain = _plain(lines, number) if part is Part.TEXT else None
        head = _git_head(plain) if plain else ()
        if head:
            made += head
            names = 2
        elif names == 0:
            made.append(lines[number])
        names = max(0, names - 1)
    return b"\n".join(made)


def _parts(lines: Sequence[bytes]) -> Iterator[Part]:
    """Tell of each line what it belongs to."""
    old = new = 0
    outside = Part.TEXT
    for line in lines:
        if old > 0 or new > 0:
            old -= line[:1] in (b" ", b"-", b"")
            new -= line[:1] in (b" ", b"+", b"")
            yield Part.BODY
        elif hunk := HUNK.match(line):
            old, new = int(hunk["old"] or 1), int(hunk["new"] or 1)
            outside = Part.TEXT
            yield Part.HUNK
        else:
            if line.startswith(b"diff --git "):
                outside = Part.HEAD
            yield outside


def _plain(lines: Sequence[bytes], number: int) -> re.Match[bytes] | None:
    """Return names, time and hunk of a file that begins here without git's header."""
    if not lines[number].startswith(b"--- "):
        return None
    return PLAIN.match(b"\n".join(lines[number : number + 3]))


def _git_head(plain: re.Match[bytes]) -> tuple[bytes, ...]:
    """Return git's header for such a file; (): it has no name."""
    old, new = _stripped(plain["before"]), _stripped(plain["after"])
    if not (old and new) or (old == new == NULL):
        return ()
    made = old == NULL or int(plain["old"] or 1) == 0
    gone = new == NULL or (int(plain["new"] or 1) == 0 and (plain["time"] or b"").startswith(EPOCH))
    # "a.c.orig" and "a.c~" stand beside the file that is meant
    name = old if new == NULL or (old != NULL and new.startswith(old)) else new
    return (
        b"diff --git a/%b b/%b" % (name, name),
        *([b"new file mode 100644"] if made else [b"deleted file mode 100644"] if gone else []),
        b"--- " + (NULL if made else b"a/" + name),
        b"+++ " + (NULL if gone else b"b/" + name),
    )


def _stripped(name: bytes) -> bytes:
    """Return a name as patch -p1 takes it; b"": it has no directory in front."""
    name = name.rstrip()
    return name if name == NULL else name.partition(b"/")[2].lstrip(b"/")


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
    yield from _line_problems(diff.split(b"\n"))
    yield from _structure_problems(as_git(diff))


def _line_problems(lines: Sequence[bytes]) -> Iterator[tuple[str | None, str]]:
    """Look at the lines as they were sent, before anything is made of them."""
    for number, part in enumerate(_parts(lines)):
        if part is Part.BODY:
            continue
        yield from _header_problems(lines[number])
        if part is Part.HEAD and lines[number].startswith(b"index "):
            yield from _index_problems(lines[number])
        plain = _plain(lines, number) if part is Part.TEXT else None
        if plain and not _git_head(plain):
            name = plain["after"].decode(errors="replace").rstrip()
            yield name, "a file name cannot be taken as patch -p1 does, without its first directory"


def _header_problems(line: bytes) -> Iterator[tuple[str | None, str]]:
    name = NAMES.match(line)
    if name and name["name"].rstrip() != NULL:
        yield from _name_problems(name["name"].rstrip().decode(errors="replace"))
    mode = MODES.match(line)
    if mode:
        yield from _mode_problems(mode["mode"])
    if line.startswith((b"GIT binary patch", b"Binary files ")):
        yield None, "it changes a binary file"


def _index_problems(line: bytes) -> Iterator[tuple[str | None, str]]:
    """Read the line before libgit2 does, which raises whatever failed last, where it fails."""
    index = INDEX.match(line)
    if index is None:
        yield None, "its diff is damaged (an index line is not one of git's)"
    elif index["mode"]:
        yield from _mode_problems(index["mode"])


def _mode_problems(text: bytes) -> Iterator[tuple[str | None, str]]:
    if not OCTAL.fullmatch(text):
        yield None, "its diff is damaged (a file mode is no octal number)"
    elif int(text, 8) not in FILE_MODES:
        yield None, _mode_reason(int(text, 8))


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
        deltas, hunks = _parsed(diff)
    except (pygit2.GitError, OSError, ValueError, KeyError) as error:
        if ED.search(diff):
            yield None, "it is an ed script, not a unified diff"
        elif isinstance(error, OSError):  # nothing is opened: it is an older error, not this one
            yield None, "its diff is damaged"
        else:
            yield None, f"its diff is damaged ({str(error).rstrip('.')})"
        return
    if not deltas:
        reason = "it is an ed script, not a unified diff" if ED.search(diff) else "it has no diff"
        yield None, reason
    written = sum(1 for part in _parts(diff.split(b"\n")) if part is Part.HUNK)
    if hunks != written:
        yield None, "its diff is damaged (a hunk is cut short)"
    for delta in deltas:
        for side in (delta.old_file, delta.new_file):
            if not side.path:  # libgit2 finds no name of a new file that has a space in it
                yield None, "a file name cannot be read: is there a space in it?"
                return
            yield from _name_problems(side.path)
            if side.mode not in FILE_MODES:
                yield side.path, _mode_reason(side.mode)


def _parsed(diff: bytes) -> tuple[list[pygit2.DiffDelta], int]:
    """Return the files of a diff and how many hunks they have, as libgit2 counts."""
    parsed = pygit2.Diff.parse_diff(diff)
    return list(parsed.deltas), sum(len(patch.hunks) for patch in parsed if patch is not None)
