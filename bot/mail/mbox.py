"""Mail from an mbox that others append to, shorten, rewrite or replace.

The cursor is where the last mail ends, with the file's inode and a digest of the bytes before
that place: if either is another, the file is another, and is read from its beginning.

A mail below which another one begins is whole. The last one may still be on its way, and nothing
in the file tells: it is taken when the file has not changed for QUIET seconds. Nothing is taken
while somebody holds a lock, by fcntl(2) or by a file PATH.lock, since whoever rewrites a mailbox
holds one. No lock is kept while a mail is looked at elsewhere, so that no delivery has to wait;
in its place each mail is compared with the file once more when the file changed meanwhile.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import json
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bot.mail import sources
from bot.mail.following import Fetched
from bot.mail.polling import UnreadableError, poll
from bot.mail.refusal import NotMailError, left_out
from bot.mail.sources import Span, is_from_line, spans

QUIET = 5.0  # seconds without a change, after which the last mail is whole
STALE = 600.0  # seconds after which a lock file was forgotten (Postfix: 500)
AHEAD = 60.0  # seconds that a time of change may lie in the future
NEAR = 4096  # bytes before the cursor's place that are compared


@dataclass(frozen=True)
class _Mark:
    """A cursor as read."""

    start: int  # where the last mail began
    offset: int  # where it ended
    inode: int
    digest: str  # of the bytes before the offset

    def text(self) -> str:
        return json.dumps(
            {"start": self.start, "offset": self.offset, "inode": self.inode, "sha256": self.digest}
        )


class Mbox:
    """The mail of a growing mbox; a bot.mail.following.Source. The file is only read."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._lock = self._path.with_name(self._path.name + ".lock")
        self._stamp: object = None
        self._more = False  # follow ended before a mail that may be whole soon
        self._warned = -1  # where the last mail lies that was left out

    @property
    def name(self) -> str:
        """The path."""
        return f"mbox:{self._path}"

    def follow(self, cursor: str) -> Iterator[Fetched]:
        """Yield the whole mails after the cursor, in the order of the file.

        Raises UnreadableError; NotMailError for what is no mbox.
        """
        try:
            self._stamp = self._look()
            if not stat.S_ISREG(self._path.stat().st_mode):
                raise NotMailError(self._path, "is no file", "mend the path")
            with self._path.open("rb") as stream:
                yield from self._since(stream, _marked(cursor))
        except OSError as error:
            raise UnreadableError(
                f"{self._path} cannot be read ({error.strerror or error}): "
                "mend the path or its permissions"
            ) from error

    def wait(self, seconds: float) -> None:
        """Return when the file changed or its last mail is whole, at the latest after a time."""
        poll(min(seconds, QUIET) if self._more else seconds, self._look, self._stamp)

    def _since(self, stream: IO[bytes], mark: _Mark | None) -> Iterator[Fetched]:
        before = os.fstat(stream.fileno())
        base = _place(stream, before, mark)
        stream.seek(base)
        self._more = False
        for number, span in enumerate(spans(stream)):
            if not span.raw and span.size <= sources.MAIL_LIMIT:
                continue
            mark = self._settled(stream, before, base, span)
            self._more = mark is None
            if mark is None:
                return
            if not number:  # what is above the first From_ line
                self._begins(base)
            elif span.raw:
                yield Fetched(span.raw, mark.text())
            else:
                self._leave_out(base + span.start)

    def _begins(self, base: int) -> None:
        if not base:
            raise NotMailError(self._path, "does not begin as an mbox does", "mend the path")

    def _leave_out(self, place: int) -> None:
        """Warn, once as long as no later mail moves the cursor on."""
        if place != self._warned:
            left_out(f"{self._path}: mail at byte {place}", sources.MAIL_LIMIT)
            self._warned = place

    def _settled(
        self, stream: IO[bytes], before: os.stat_result, base: int, span: Span
    ) -> _Mark | None:
        """Return the cursor after a mail that is whole and in the file as it was read."""
        if self._lock_file_held():
            return None
        with _shared_lock(stream) as free:
            now = os.fstat(stream.fileno())
            same = (now.st_mtime_ns, now.st_size) == (before.st_mtime_ns, before.st_size)
            if not free or (span.last and not (same and _quiet(now))):
                return None
            start, end = base + span.start, base + span.end
            if span.raw and not same:
                again = io.BytesIO(os.pread(stream.fileno(), end - start, start))
                if [one.raw for one in spans(again) if one.raw] != [span.raw]:
                    return None
            return _Mark(start, end, now.st_ino, _digest(stream, end))

    def _lock_file_held(self) -> bool:
        try:
            return time.time() - self._lock.stat().st_mtime < STALE
        except FileNotFoundError:
            return False

    def _look(self) -> object:
        try:
            now = self._path.stat()
        except OSError:
            return None
        return now.st_ino, now.st_size, now.st_mtime_ns


def _quiet(now: os.stat_result) -> bool:
    # a time in the future comes from a clock that was set back since
    return not -AHEAD < time.time() - now.st_mtime < QUIET


@contextmanager
def _shared_lock(stream: IO[bytes]) -> Iterator[bool]:
    """Lock a file for reading; gives whether nobody writes under a lock of fcntl(2)."""
    try:
        fcntl.lockf(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        # where the filesystem knows no locks, nobody can hold one
        yield error.errno not in {errno.EACCES, errno.EAGAIN}
        return
    try:
        yield True
    finally:
        fcntl.lockf(stream, fcntl.LOCK_UN)


def _digest(stream: IO[bytes], offset: int) -> str:
    start = max(offset - NEAR, 0)
    return hashlib.sha256(os.pread(stream.fileno(), offset - start, start)).hexdigest()


def _place(stream: IO[bytes], now: os.stat_result, mark: _Mark | None) -> int:
    """Return where to read on: 0 in another file."""
    if mark is None or (now.st_ino, True) != (mark.inode, mark.offset <= now.st_size):
        return 0
    if _digest(stream, mark.offset) != mark.digest:
        return 0
    below = os.pread(stream.fileno(), NEAR, mark.offset).lstrip(b"\r\n")
    line, newline, _ = below.partition(b"\n")
    begins = is_from_line(line) if newline else line[:5] == b"From "[: len(line)]
    # what was taken for whole was not: it is handed out once more, with the rest
    return mark.offset if begins else mark.start


def _marked(cursor: str) -> _Mark | None:
    """Return a cursor as read; None for one that cannot be read, and for the beginning."""
    try:
        read = json.loads(cursor)
        start, offset, inode = (int(read[name]) for name in ("start", "offset", "inode"))
        good = 0 <= start <= offset
        return _Mark(start, offset, inode, str(read["sha256"])) if good else None
    except (ValueError, TypeError, KeyError):
        return None
