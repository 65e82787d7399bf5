"""Mail from a maildir that others deliver to, read and sort (https://cr.yp.to/proto/maildir.html).

A mail is known by the part of its file's name before the flags, which stays when it moves from
new/ to cur/. Names begin with the time of delivery, and mail is handed out in that order. A name
older than the last one is no proof that its mail is old: another machine with a slow clock, or
somebody who copies a folder, delivers such names. But no mail enters a folder without its ctime
being set, by link() or rename(), to a clock that nobody chooses. So the cursor keeps

- the newest name handed out: every later name is new;
- a time: what entered the folder before it has been handed out;
- the last names handed out, which are known though they entered after that time.

A mail with an old name that entered after the time and is not among the last ones is handed out.
Flags set a ctime too, so that a mail may come twice when the source starts anew; while it runs it
knows all names in the folder.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bot.mail import sources
from bot.mail.following import Fetched
from bot.mail.polling import UnreadableError, poll
from bot.mail.refusal import NotMailError, left_out

SLACK = 600  # seconds that clocks of machines which share a folder may differ
RECENT = 100  # names kept in the cursor

_FLAGS = re.compile(r"[:;!]2,")  # ":" where the filesystem takes it
_TIME = re.compile(r"\d{1,12}")


@dataclass(frozen=True)
class _Mark:
    """A cursor as read."""

    key: tuple[int, str] = (-1, "")  # time and name of the newest mail handed out
    since: int = 0  # seconds since 1970
    recent: tuple[str, ...] = ()

    def passed(self, name: str, since: int) -> _Mark:
        """Return the cursor with which one more mail is known."""
        return _Mark(max(self.key, _key(name)), since, (*self.recent, name)[-RECENT:])

    def text(self) -> str:
        return json.dumps({"newest": self.key[1], "since": self.since, "recent": self.recent})


class Maildir:
    """The mail of a maildir; a bot.mail.following.Source. Nothing in the folder is changed."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._files: dict[str, Path] = {}  # by name without flags
        self._known: set[str] = set()  # names up to the cursor below
        self._cursor: str | None = None
        self._warned: set[str] = set()
        self._stamp: object = None

    @property
    def name(self) -> str:
        """The path."""
        return f"maildir:{self._path}"

    def follow(self, cursor: str) -> Iterator[Fetched]:
        """Yield the mails that entered the folder since the cursor, in the order of their names.

        Raises UnreadableError; NotMailError for a directory that is no maildir.
        """
        try:
            yield from self._since(cursor)
        except OSError as error:
            raise UnreadableError(
                f"{error.filename or self._path} cannot be read ({error.strerror or error}): "
                "mend the path or its permissions"
            ) from error

    def wait(self, seconds: float) -> None:
        """Return when files came or went, at the latest after so many seconds."""
        poll(seconds, self._look, self._stamp)

    def _since(self, cursor: str) -> Iterator[Fetched]:
        mark = _marked(cursor)
        since = int(time.time()) - SLACK
        self._stamp = self._look()
        self._files = self._listed()
        late, fresh = self._unknown(cursor, mark)
        self._known = self._files.keys() - {*late, *fresh}
        self._cursor = cursor
        self._warned &= self._files.keys()
        for number, name in enumerate([*late, *fresh], 1):
            raw = self._content(name)
            if raw is not None:
                self._known.add(name)
            if raw:
                # the time moves on once every mail with an old name has been handed out
                mark = mark.passed(name, mark.since if number < len(late) else since)
                self._cursor = mark.text()
                yield Fetched(raw, self._cursor)

    def _unknown(self, cursor: str, mark: _Mark) -> tuple[list[str], list[str]]:
        """Return the names to hand out, in order: those that came with an old name, the others."""
        if cursor == self._cursor:
            names = self._files.keys() - self._known
        else:  # a start, or a mail that was handed out could not be stored
            names = self._files.keys() - set(mark.recent)
        old = sorted((name for name in names if _key(name) <= mark.key), key=_key)
        fresh = sorted((name for name in names if _key(name) > mark.key), key=_key)
        if cursor != self._cursor:
            old = [name for name in old if self._entered(name) >= mark.since]
        return old, fresh

    def _look(self) -> object:
        found = []
        for name in ("new", "cur"):
            try:
                found.append((self._path / name).stat().st_mtime_ns)
            except OSError:
                found.append(0)
        return found

    def _listed(self) -> dict[str, Path]:
        """Return the files by name without flags.

        new/ comes first: a mail that moves meanwhile is seen twice, not missed.
        """
        found: dict[str, Path] = {}
        rooms = [self._path / name for name in ("new", "cur") if (self._path / name).is_dir()]
        if not rooms and self._path.exists():
            raise NotMailError(self._path, "is no maildir (no cur/ or new/)", "mend the path")
        for room in rooms or [self._path / "new"]:
            with os.scandir(room) as entries:
                for entry in entries:
                    if not entry.name.startswith(".") and entry.is_file():
                        found[_FLAGS.split(entry.name)[0]] = room / entry.name
        return found

    def _entered(self, name: str) -> float:
        """Return when a mail came into the folder or got its flags; 0 for one that has gone."""
        try:
            return self._files[name].stat().st_ctime
        except FileNotFoundError:
            return time.time()  # it moves just now

    def _content(self, name: str) -> bytes | None:
        """Return a mail; None when it is not there, or not yet; empty when it is too large."""
        try:
            content = _bytes(self._files[name])
        except FileNotFoundError:  # it got flags; and if one did, others did
            self._files |= self._listed()
            try:
                content = _bytes(self._files[name])
            except FileNotFoundError:
                return None
        if len(content) <= sources.MAIL_LIMIT:
            return content.removeprefix(sources.BOM) or None
        if name not in self._warned:
            left_out(str(self._files[name]), sources.MAIL_LIMIT)
            self._warned.add(name)
        return b""


def _bytes(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(sources.MAIL_LIMIT + 1)


def _key(name: str) -> tuple[int, str]:
    """Return what names are ordered by: the time at their beginning, then the name itself."""
    match = _TIME.match(name)
    return (int(match[0]) if match else 0, name)


def _marked(cursor: str) -> _Mark:
    """Return a cursor as read; one that cannot be read is the beginning."""
    try:
        read = json.loads(cursor)
        newest, since, recent = str(read["newest"]), int(read["since"]), read["recent"]
        return _Mark(_key(newest), since, tuple(str(one) for one in recent))
    except (ValueError, TypeError, KeyError):
        return _Mark()
