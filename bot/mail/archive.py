"""Follows a public-inbox v2 archive in git (public-inbox-v2-format(5)), by URL or by path.

Each epoch is a repository of its own; a new one begins when the last has grown large. The
cursor is the last commit that was handed out of each.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pygit2

from bot.mail import inbox, sources, web
from bot.mail.clones import ArchiveError, Clones, StoppedError
from bot.mail.following import Fetched

Place = tuple[int, Path]  # number and repository of an epoch


class Archive:
    """A public-inbox v2 archive: a URL, NAME with NAME/git/N.git below it, or one repository.

    ``keep`` is where clones of a URL go. ``since`` is how far back an archive is read that was
    never read before, by the time of its commits; None: all of it. When ``stop`` is set, wait()
    returns and a fetch ends.
    """

    def __init__(
        self,
        place: str,
        keep: Path,
        since: datetime | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self._place, self._since = place.rstrip("/"), since
        self._stop = stop or threading.Event()
        parts = urlsplit(place)
        self._path = Path(unquote(parts.path) if parts.scheme == "file" else place)
        self._clones: Clones | None = None
        if parts.scheme in {"http", "https"}:
            digest = hashlib.sha256(web.shown(self._place).encode()).hexdigest()[:16]
            self._clones = Clones(self._place, keep / digest, self._stop.is_set)
        # epoch → commit of the cursor and newest commit, where nothing is between them to read
        self._ended: dict[int, tuple[str | None, str]] = {}

    @property
    def name(self) -> str:
        """What its cursor is kept under."""
        return f"archive:{web.shown(self._place)}"

    def follow(self, cursor: str) -> Iterator[Fetched]:
        """Yield what came since the cursor, oldest first. Raises ArchiveError."""
        done = _read(cursor)
        try:
            places, trouble = self._places(max(done, default=None))
        except StoppedError:
            return
        yield from self._hand_out(places, done)
        if trouble:
            raise trouble

    def wait(self, seconds: float) -> None:
        """Wait so many seconds, or for the stop: an archive in git does not tell of new mail."""
        self._stop.wait(seconds)

    def _hand_out(self, places: list[Place], done: dict[int, str]) -> Iterator[Fetched]:
        taken_back: set[pygit2.Oid] = set()  # an epoch takes back mails of those before it too
        plan = []
        for number, path in reversed(places):
            with self._reading(path):
                newest = str(inbox.head(inbox.opened(path)))
                if self._ended.get(number) == (done.get(number), newest):
                    continue  # what is there was too large, or only takes mails back
                found = inbox.unread(path, done.get(number), self._since, taken_back)
                plan.append((number, path, newest, found))
        for number, path, newest, found in reversed(plan):
            with self._reading(path):
                for raw, commit in found.mails(sources.MAIL_LIMIT):
                    done[number] = commit
                    yield Fetched(raw, json.dumps(done, sort_keys=True))
            self._ended[number] = (done.get(number), newest)

    def _places(self, first: int | None) -> tuple[list[Place], ArchiveError | None]:
        """Return the epochs from the first one on, up to date, and why there are no more.

        Raises ArchiveError where there is none, StoppedError.
        """
        if self._clones is None:
            with self._reading(self._path):
                found = [(_number(path), path) for path in inbox.epochs(self._path)]
            places = sorted(one for one in found if one[0] >= (first or 0))
            if not places:
                raise ArchiveError(f"{self._place} is no public-inbox v2 archive: check `sources`")
            return places, None
        numbers = self._clones.numbers(first or 0)
        if first is None and self._since is not None:
            places, trouble = self._lately(self._clones, numbers, self._since), None
        else:
            places, trouble = _brought(self._clones, numbers)
        if not places or (first is not None and places[0][0] != first):
            shown = f"{web.shown(self._place)}/{first or 0}"
            raise ArchiveError(f"{shown} is no git repository: check `sources`")
        return places, trouble

    def _lately(self, clones: Clones, numbers: list[int], since: datetime) -> list[Place]:
        """Return the epochs that have mail since a time; no older one is cloned."""
        places: list[Place] = []
        for number in reversed(numbers):
            path = clones.bring(number)
            if path is None:
                continue
            places.append((number, path))
            with self._reading(path):
                if inbox.reaches(path, since):
                    break
        return places[::-1]

    @contextmanager
    def _reading(self, path: Path) -> Iterator[None]:
        try:
            yield
        except (pygit2.GitError, KeyError, ValueError, OSError) as error:
            said = web.shortened(str(error))
            way_out = "run `git fsck` in it"
            if self._clones:
                anew = self._clones.give_up(path, said)
                way_out = "it is cloned anew the next time" if anew else "it is tried again"
            raise ArchiveError(f"{path} cannot be read by git ({said}): {way_out}") from error


def _brought(clones: Clones, numbers: list[int]) -> tuple[list[Place], ArchiveError | None]:
    """Return the epochs up to the first that cannot be had: it keeps back none before it."""
    places: list[Place] = []
    for number in numbers:
        try:
            path = clones.bring(number)
        except ArchiveError as error:
            if not places:
                raise
            return places, error
        if path is not None:
            places.append((number, path))
    return places, None


def _number(path: Path) -> int:
    return int(path.stem) if path.stem.isdecimal() else 0


def _read(cursor: str) -> dict[int, str]:
    """Return the last commit of each epoch; none for the cursor of something else."""
    try:
        return {int(number): str(commit) for number, commit in json.loads(cursor).items()}
    except (ValueError, AttributeError):
        return {}
