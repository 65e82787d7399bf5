"""Bare clones of the epochs of a public-inbox v2 archive on a server: URL/0, URL/1, ….

Where an epoch is, and whether, is asked over HTTP before libgit2 is: its errors tell a missing
repository from a broken server only by their words, and libgit2 1.9.7 dies of a redirect to
another place, such as a page to log in at.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pygit2
from pygit2.enums import FetchPrune

from bot.errors import OursError
from bot.mail import web
from bot.mail.inbox import opened

LOG = logging.getLogger(__name__)

ADVERTISED = "application/x-git-upload-pack-advertisement"  # gitprotocol-http(5)
INFO = "/info/refs?service=git-upload-pack"
AGENT = {"User-Agent": "git/2.0 (stackhog)"}  # some servers answer only git
HEADS = "+refs/heads/*:refs/heads/*"
QUIET = 120  # seconds without a byte from a server
CONNECT = 20  # seconds
EPOCHS = 1000  # more than any list has
MANIFEST = 4 << 20  # bytes
PACKS = 50  # small packs; each fetch brings one, and libgit2 keeps all of them open
SMALL = 32 << 20  # bytes of a small pack
BROKEN = "stackhog-broken"  # a file in a clone that is to be made anew
# what libgit2 says of objects that it ought to have; the rest is the network's or the disk's
_DAMAGE = re.compile(
    r"(?i)object not found|delta|zlib|inflate|code lengths|corrupt|invalid pack|packfile is invalid"
    r"|failed to parse loose|checksum|hash mismatch"
)
# what passes without a new clone
_PASSING = re.compile(r"(?i)too many open files|no space left|cannot allocate|permission denied")
_EPOCH = re.compile(r"/([^/]+)/(?:git/)?(\d{1,3})(?:\.git)?")


class ArchiveError(OursError):
    """An archive cannot be read for now."""


class StoppedError(Exception):
    """The operator wants us to end."""


class _Watched(pygit2.RemoteCallbacks):
    """Looks whether to stop while objects come in; a first clone takes many minutes."""

    def __init__(self, stopped: Callable[[], bool], login: tuple[str, str] | None) -> None:
        super().__init__(credentials=pygit2.UserPass(*login) if login else None)
        self._stopped = stopped

    def transfer_progress(self, stats: pygit2.remotes.TransferProgress) -> None:  # noqa: ARG002
        if self._stopped():
            raise StoppedError


class Clones:
    """The epochs of an archive, kept below a directory and brought up to date when asked for."""

    def __init__(self, url: str, keep: Path, stopped: Callable[[], bool]) -> None:
        self._url, self._keep, self._stopped = url, keep, stopped
        self._shown, self._login = web.shown(url), web.login(url)

    def numbers(self, least: int) -> list[int]:
        """Return the epochs from one on, in order: of manifest.js.gz, else by asking for each.

        Raises ArchiveError.
        """
        told = self._told()
        if told:
            return sorted(number for number in {least, *told} if number >= least)
        found = []
        for number in range(least, least + EPOCHS):
            if self._where(number) is None:
                break
            found.append(number)
        return found

    def _told(self) -> set[int]:
        """Return the epochs that the archive's manifest names; none: it has no manifest."""
        name = urlsplit(self._url).path.rpartition("/")[2]
        file = io.BytesIO()
        try:
            answer = web.ask("GET", f"{self._url}/manifest.js.gz", file, limit=MANIFEST)
            told = json.loads(file.getvalue()) if answer.status == web.OK else {}
        except (web.UnreachableError, ValueError, RecursionError):
            return set()  # whether the archive can be reached is then seen by asking for epochs
        paths = [_EPOCH.fullmatch(path) for path in told] if isinstance(told, dict) else []
        return {int(one[2]) for one in paths if one and one[1] == name}

    def bring(self, number: int) -> Path | None:
        """Clone an epoch or bring it up to date; None where there is none of that number.

        Raises ArchiveError, StoppedError.
        """
        url = self._where(number)
        if url is None:
            return None
        path = self._keep / f"{number}.git"
        try:
            if path.is_dir() and not (path / BROKEN).exists():
                self._update(path, url)
            else:
                self._clone(path, url)
        except (pygit2.GitError, KeyError, ValueError, OSError) as error:
            said = web.shortened(str(error))
            raise ArchiveError(
                f"{self._shown}/{number} cannot be fetched ({said}): it is tried again"
            ) from error
        return path

    def give_up(self, path: Path, said: str) -> bool:
        """Mark a clone that git cannot read: bring() makes another one and then replaces it.

        Does nothing, and returns False, where what git said is not the clone's fault.
        """
        if _PASSING.search(said):
            return False
        with suppress(OSError):
            (path / BROKEN).touch()
        return True

    def _where(self, number: int) -> str | None:
        """Return where the repository of an epoch is in the end, redirects followed."""
        asked = f"{self._shown}/{number}"
        try:
            answer = web.ask("GET", f"{self._url}/{number}{INFO}", headers=AGENT)
        except web.UnreachableError as error:
            raise ArchiveError(f"{asked} cannot be reached ({error}): it is tried again") from error
        if answer.status in (web.NOT_FOUND, web.GONE):
            return None
        if answer.status != web.OK or answer.kind != ADVERTISED or not answer.url.endswith(INFO):
            raise ArchiveError(
                f"{asked} is no git repository over HTTP (it says {answer.status}, "
                f"{answer.kind or 'nothing'}): check `sources`"
            )
        return answer.url.removesuffix(INFO)

    def _update(self, path: Path, url: str) -> None:
        try:
            repository = opened(path)
            self._fetch(repository, url)
            repository.free()
        except (pygit2.GitError, KeyError, ValueError) as error:
            if not _sound(path) or _DAMAGE.search(str(error)):
                self.give_up(path, str(error))
            raise
        try:
            tidy(path)
        except (pygit2.GitError, OSError) as error:  # what was fetched is there
            LOG.warning("%s keeps its many packs: %s", path, error)

    def _clone(self, path: Path, url: str) -> None:
        fresh, old = path.with_suffix(".new"), path.with_suffix(".old")
        shutil.rmtree(fresh, ignore_errors=True)  # one that was cut
        self._fetch(pygit2.init_repository(str(fresh), bare=True), url)
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            path.rename(old)
        fresh.rename(path)
        shutil.rmtree(old, ignore_errors=True)

    def _fetch(self, repository: pygit2.Repository, url: str) -> None:
        pygit2.settings.server_connect_timeout = CONNECT * 1000
        pygit2.settings.server_timeout = QUIET * 1000
        same = urlsplit(url).netloc == urlsplit(self._shown).netloc
        watched = _Watched(self._stopped, self._login if same else None)
        repository.remotes.create_anonymous(url).fetch(
            [HEADS], prune=FetchPrune.PRUNE, proxy=True, callbacks=watched
        )
        heads = sorted(name for name in repository.references if name.startswith("refs/heads/"))
        if repository.head_is_unborn and heads:
            repository.set_head(heads[0])


def _sound(path: Path) -> bool:
    try:
        repository = opened(path)
        if not repository.head_is_unborn:
            for entry in repository[repository.head.target].peel(pygit2.Commit).tree:
                repository.odb.read(entry.id)
    except (pygit2.GitError, KeyError, ValueError):
        return False
    return True


def tidy(path: Path) -> None:
    """Put the small packs of a clone into one, once there are many; libgit2 never does.

    Raises GitError, OSError; the clone is whole at any moment.
    """
    packs = path / "objects" / "pack"
    small = [
        one for one in sorted(packs.glob("*.pack"))
        if one.stat().st_size < SMALL and one.with_suffix(".idx").exists()
    ]  # fmt: skip
    if len(small) < PACKS:
        return
    with tempfile.TemporaryDirectory(dir=path, prefix="tidy-") as name:
        part = pygit2.init_repository(name, bare=True)
        for one in small:
            for file in (one, one.with_suffix(".idx")):
                os.link(file, Path(name) / "objects" / "pack" / file.name)
        before = {one.name for one in packs.iterdir()}
        part.pack(packs)
    made = {one.name for one in packs.iterdir()} - before
    for one in small if made else ():
        one.unlink()
        one.with_suffix(".idx").unlink(missing_ok=True)
