"""Content-addressed store: bytes in, their SHA-256 out, and back again.

A directory by default. Workers on several machines share a bucket, and the directory keeps what
passed through; what comes from there is believed only when it has the SHA-256 that it is named
after.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from bot.contract import OursError
from workers.remote import NotThereError, Remote

KEY = re.compile(r"[0-9a-f]{64}")


class NoArtifactError(OursError):
    """Nothing is stored under this key (it was evicted, or came from elsewhere)."""

    def __init__(self, key: str, why: str = "is gone: run the review again") -> None:
        self.key = key
        super().__init__(f"artifact {key} {why}")


class Artifacts:
    """Immutable files named after their content."""

    def __init__(self, root: Path, remote: Remote | None = None) -> None:
        self._root, self._remote = root, remote

    def path(self, key: str) -> Path:
        """Return where the content of ``key`` lies on this machine, present or not."""
        if not KEY.fullmatch(key):
            raise NoArtifactError(repr(key), "is not the key of an artifact")
        return self._root / key[:2] / key

    def put(self, content: bytes) -> str:
        """Store and return the key; the same content is stored once.

        Raises remote.RemoteError: then nothing counts as stored.
        """
        key = hashlib.sha256(content).hexdigest()
        if self._remote is not None:
            self._remote.put(_name(key), content)
        self._keep(key, content)
        return key

    def get(self, key: str) -> bytes:
        """Return the content.

        Raises NoArtifactError, remote.RemoteError.
        """
        path = self.path(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return self._fetch(key)
        _touch(path)
        return content

    def fetched(self, key: str) -> Path:
        """Return a file with the content, brought here where it is elsewhere.

        Raises NoArtifactError, remote.RemoteError.
        """
        path = self.path(key)
        if not path.exists():
            self._fetch(key)
        _touch(path)
        return path

    def lend(self, key: str, at: Path) -> None:
        """Put the content at a new path on the same file system; there it stays, evicted or not.

        Raises NoArtifactError, remote.RemoteError.
        """
        for _ in range(3):  # between a look and a link it may be evicted
            with suppress(FileNotFoundError):
                at.hardlink_to(self.fetched(key))
                return
        raise NoArtifactError(key)

    def has(self, key: str) -> bool:
        """Whether the content can be had, here and by others; what a bucket lost it gets again.

        Raises remote.RemoteError.
        """
        try:
            path = self.fetched(key)
            if self._remote is not None:
                self._remote.put(_name(key), path.read_bytes())
        except (NoArtifactError, FileNotFoundError):  # evicted meanwhile
            return False
        return True

    def _fetch(self, key: str) -> bytes:
        if self._remote is None:
            raise NoArtifactError(key)
        try:
            content = self._remote.get(_name(key))
        except NotThereError as error:
            raise NoArtifactError(key) from error
        if hashlib.sha256(content).hexdigest() != key:
            self._remote.delete(_name(key))  # or it would be taken for stored for ever
            raise NoArtifactError(key, "was damaged where it was stored: run the review again")
        self._keep(key, content)
        return content

    def _keep(self, key: str, content: bytes) -> None:
        path = self.path(key)
        if path.exists():
            _touch(path)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{uuid4().hex}")
        fresh.write_bytes(content)
        fresh.replace(path)


def _name(key: str) -> str:
    return f"{key[:2]}/{key}"


def _touch(path: Path) -> None:
    """Note that a file was used: what was not, goes first when there is no room."""
    with suppress(OSError):
        os.utime(path)
