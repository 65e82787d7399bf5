"""Follows a public-inbox v2 archive in git (public-inbox-v2-format(5)), by URL or by path.

Each epoch is a repository of its own, URL/0, URL/1, …; a new one begins when the last has grown
large. The cursor is the last commit that was handed out of each. What was purged or edited
upstream rewrites history: then reading goes on from the newest commit that is still there.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import pygit2
from pygit2.enums import ObjectType, RepositoryOpenFlag, SortMode

from bot.errors import OursError
from bot.mail import inbox
from bot.mail.following import Fetched
from bot.mail.refusal import left_out
from bot.mail.sources import MAIL_LIMIT

HEADS = "+refs/heads/*:refs/heads/*"
OLDER = 100  # commits in a row that are too old: then all are; times are not quite in order
EPOCHS = 1000  # more than any list has
_GONE = re.compile(r"(?i)404|not found|unexpected http status|does not (appear|exist)")
_NETWORK = re.compile(r"(?i)connect|resolve|timed? ?out|http|socket|ssl|certificate|proxy|refused")


class ArchiveError(OursError):
    """An archive cannot be read for now."""


class Archive:
    """A public-inbox v2 archive; ``keep`` is where clones of one that is a URL go.

    ``since`` is how far back an archive is read that was never read before; None: all of it.
    """

    def __init__(self, place: str, keep: Path, since: datetime | None = None) -> None:
        self._place, self._since = place.rstrip("/"), since
        self._remote = urlsplit(place).scheme in {"http", "https"}
        digest = hashlib.sha256(self._place.encode()).hexdigest()[:16]
        self._keep = keep / digest

    @property
    def name(self) -> str:
        """What its cursor is kept under."""
        return f"archive:{self._place}"

    def follow(self, cursor: str) -> Iterator[Fetched]:
        """Yield what came since the cursor, oldest first. Raises ArchiveError."""
        done: dict[str, str] = json.loads(cursor) if cursor else {}
        known = [int(number) for number in done]
        for number, path in self._epochs(max(known) if known else self._first()):
            try:
                repository = _opened(path)
                for raw, commit in _since(repository, done.get(str(number)), self._since):
                    done[str(number)] = commit
                    yield Fetched(raw, json.dumps(done, sort_keys=True))
            except (pygit2.GitError, KeyError, ValueError, OSError) as error:
                self._give_up(path)
                raise ArchiveError(
                    f"{path} cannot be read by git ({error}): "
                    + (
                        "it is cloned anew the next time"
                        if self._remote
                        else "run `git fsck` in it"
                    )
                ) from error

    def wait(self, seconds: float) -> None:
        """Sleep: an archive in git does not tell of new mail."""
        time.sleep(seconds)

    def _first(self) -> int:
        """Return the epoch to begin with: the last one, where not everything is to be read."""
        if not self._remote or self._since is None:
            return 0
        number = 0
        while number < EPOCHS and self._exists(number + 1):
            number += 1
        return number

    def _exists(self, number: int) -> bool:
        with tempfile.TemporaryDirectory(prefix="stackhog-") as name:
            empty = pygit2.init_repository(name, bare=True)
            try:
                empty.remotes.create_anonymous(f"{self._place}/{number}").list_heads(proxy=True)
            except pygit2.GitError as error:
                if _GONE.search(str(error)):
                    return False
                raise ArchiveError(
                    f"{self._place}/{number} cannot be reached ({error}): it is tried again"
                ) from error
        return True

    def _epochs(self, first: int) -> Iterator[tuple[int, Path]]:
        """Yield number and repository of each epoch from the first one on, up to date."""
        if not self._remote:
            found = inbox.epochs(Path(urlsplit(self._place).path))
            if not found:
                raise ArchiveError(f"{self._place} is no public-inbox v2 archive: check `sources`")
            paths = sorted((_number(path), path) for path in found)
            yield from ((number, path) for number, path in paths if number >= first)
            return
        for number in range(first, EPOCHS):
            path = self._keep / f"{number}.git"
            if not self._fetched(number, path):
                if number == first:
                    raise ArchiveError(
                        f"{self._place}/{number} is no git repository: check `sources`"
                    )
                return
            yield number, path

    def _fetched(self, number: int, path: Path) -> bool:
        """Clone an epoch or bring it up to date; False where there is none of that number."""
        url = f"{self._place}/{number}"
        fresh = path.with_suffix(".new")
        try:
            if path.is_dir():
                _fetch(_opened(path), url)
                return True
            shutil.rmtree(fresh, ignore_errors=True)
            _fetch(pygit2.init_repository(str(fresh), bare=True), url)
            fresh.rename(path)  # a clone that was cut is not taken for a whole one
        except pygit2.GitError as error:
            if not path.is_dir() and _GONE.search(str(error)):
                shutil.rmtree(fresh, ignore_errors=True)
                return False
            if path.is_dir() and not _NETWORK.search(str(error)):
                self._give_up(path)
            raise ArchiveError(f"{url} cannot be fetched ({error}): it is tried again") from error
        return True

    def _give_up(self, path: Path) -> None:
        """Put a clone that git cannot read aside, so that the next look clones it anew."""
        if self._remote:
            shutil.rmtree(path, ignore_errors=True)


def _number(path: Path) -> int:
    return int(path.stem) if path.stem.isdecimal() else 0


def _opened(path: Path) -> pygit2.Repository:
    return pygit2.Repository(str(path), RepositoryOpenFlag.NO_SEARCH)


def _fetch(repository: pygit2.Repository, url: str) -> None:
    remote = repository.remotes.create_anonymous(url)
    remote.fetch([HEADS], proxy=True)
    head = next((name for name in repository.references if name.startswith("refs/heads/")), None)
    if repository.head_is_unborn and head:
        repository.set_head(head)


def _since(
    repository: pygit2.Repository, last: str | None, since: datetime | None
) -> Iterator[tuple[bytes, str]]:
    """Yield mail and commit of what came after a commit, oldest first."""
    if repository.is_empty or repository.head_is_unborn:
        return
    commits = _commits(repository, last, since)
    taken_back = {
        entry.id for commit in commits for entry in repository[commit].peel(pygit2.Commit).tree
        if entry.name == "d"
    }  # fmt: skip
    for oid in reversed(commits):
        for entry in repository[oid].peel(pygit2.Commit).tree:
            if entry.name != "m" or entry.type != ObjectType.BLOB or entry.id in taken_back:
                continue
            if repository.odb.read_header(entry.id)[1] > MAIL_LIMIT:
                left_out(f"{repository.path}: mail of commit {oid}", MAIL_LIMIT)
                continue
            yield repository.odb.read(entry.id)[1], str(oid)


def _commits(
    repository: pygit2.Repository, last: str | None, since: datetime | None
) -> Sequence[pygit2.Oid]:
    """Return the commits above the last one that was read, newest first."""
    head = pygit2.Oid(hex=str(repository.head.target))
    walker = repository.walk(head, SortMode.TOPOLOGICAL)
    if last is not None:
        base = _still_there(repository, last, head)
        if base is not None:
            walker.hide(base)
        return [commit.id for commit in walker]
    if since is None:
        return [commit.id for commit in walker]
    found, older = [], 0
    for commit in walker:
        if commit.commit_time >= since.timestamp():
            found.append(commit.id)
            older = 0
            continue
        older += 1
        if older > OLDER:
            break
    return found


def _still_there(repository: pygit2.Repository, last: str, head: pygit2.Oid) -> pygit2.Oid | None:
    """Return the newest commit below the last one that was read that upstream still has."""
    try:
        known = pygit2.Oid(hex=last)
        if known not in repository:
            return None
        return repository.merge_base(known, head)
    except ValueError:
        return None
