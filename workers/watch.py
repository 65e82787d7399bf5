"""Watches how much a running build writes: no quota is to be had on every machine."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from bot.contract import OursError, TheirsError

MAX_FILES = 400_000
FREE_FLOOR = 256 << 20  # bytes that must stay free for everybody else
SHARE = 0.02  # of one core that the watching may cost


class DiskFullError(TheirsError):
    """A build wrote more than it may; carries the bytes allowed."""

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed
        super().__init__(f"the build wrote more than {allowed >> 20} MiB, which is its limit")


class NoSpaceError(OursError):
    """The file system is nearly full: the machine's fault, never the patch's."""


def written(root: Path) -> tuple[int, int]:
    """Return bytes on disk and number of files below ``root``; what vanishes meanwhile is 0."""
    size = files = 0
    stack = [str(root)]
    while stack:
        with suppress(OSError), os.scandir(stack.pop()) as entries:
            for entry in entries:
                files += 1
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
                else:
                    with suppress(OSError):
                        size += entry.stat(follow_symlinks=False).st_blocks * 512
    return size, files


def free(path: Path) -> int:
    """Return the bytes that an unprivileged user can still write at ``path``."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def size(path: Path) -> int:
    """Return the bytes of the file system at ``path``."""
    found = os.statvfs(path)
    return found.f_blocks * found.f_frsize


class DiskWatch:
    """Raises DiskFullError when more than ``allowed`` bytes lie below ``root``."""

    def __init__(self, root: Path | None, allowed: int) -> None:
        self._root, self._allowed = root, allowed
        self._next = 0.0

    def __call__(self) -> None:
        """Look, unless the last look was so slow that it is too early."""
        now = time.monotonic()
        if self._root is None or now < self._next:
            return
        size, files = written(self._root)
        self._next = time.monotonic() + (time.monotonic() - now) / SHARE
        if size > self._allowed or files > MAX_FILES:
            raise DiskFullError(self._allowed)
        if free(self._root) < FREE_FLOOR:
            raise NoSpaceError(f"the disk that holds {self._root} is full: free some space there")
